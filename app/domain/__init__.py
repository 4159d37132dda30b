"""Pure rules of metering and pricing: no I/O, no clock, no Kafka."""
