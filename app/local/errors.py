"""The one exception of this package."""


class BrokerError(RuntimeError):
    """Kafka cannot be had or does not start. The message is a sentence for the person at the terminal."""
