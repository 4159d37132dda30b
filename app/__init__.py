"""meterstream: meter records in, priced intervals out, on Kafka."""
