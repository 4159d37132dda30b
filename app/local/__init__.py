"""What this machine needs to run meterstream alone: a real Kafka, child processes that end, and demo data."""
