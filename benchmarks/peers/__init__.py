"""This project beside others that do the same job: the same broker, the same records, the same answers expected of each."""
