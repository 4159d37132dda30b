"""Bytes to domain and back: records, intervals, priced records, and the documents that prices depend on."""
