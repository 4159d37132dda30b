"""Files of others into meter records: a `Row` for every reading of a file; nothing is dropped silently."""
