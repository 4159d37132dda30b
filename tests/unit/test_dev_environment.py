"""`meterstream dev` keeps the settings of TLS and SASL for a Kafka of somebody else; its own knows neither."""

from pathlib import Path

from app.cli.dev import environment_for
from app.local.docker import ComposeBroker
from app.local.resolve import ExternalBroker
from app.settings import load_settings, variable_of
from app.streams.security import SECURITY_FIELDS, security_options

STATE = Path("/state")
SECURED = {
    "METERSTREAM_SECURITY_PROTOCOL": "SASL_SSL",
    "METERSTREAM_SASL_MECHANISM": "SCRAM-SHA-512",
    "METERSTREAM_SASL_USERNAME": "meters",
    "METERSTREAM_SASL_PASSWORD": "not told to anybody",
    "METERSTREAM_EMIT_EVERY_S": "2",
}


def test_a_broker_of_our_own_is_spoken_to_without_tls_and_sasl() -> None:
    everything = SECURED | {variable_of(name): "/etc/kafka/client.pem" for name in SECURITY_FIELDS}
    for given in (SECURED, everything):
        environ = environment_for(ComposeBroker(given), STATE, given)
        settings = load_settings(environ)
        assert settings.security_protocol == "PLAINTEXT"
        assert security_options(settings) == {}
        assert not {variable_of(name) for name in SECURITY_FIELDS} & environ.keys()
        assert settings.emit_every_s == 2


def test_a_broker_of_somebody_else_is_spoken_to_as_the_settings_say() -> None:
    environ = environment_for(ExternalBroker("kafka.example.org:9094"), STATE, SECURED)
    settings = load_settings(environ)
    assert settings.bootstrap_servers == "kafka.example.org:9094"
    assert settings.security_protocol == "SASL_SSL"
    assert settings.sasl_username == "meters"
    assert security_options(settings)["sasl_plain_password"] == SECURED["METERSTREAM_SASL_PASSWORD"]
