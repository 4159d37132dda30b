"""A made-up portfolio and its readings: everything is a function of a seed and a time that is handed in."""
