"""Security settings: every mistake told at once, and no secret shown."""

from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from app.settings import Settings, SettingsError, describe, load_settings
from app.streams.security import client_options

SECRET = "a-Word-that-nobody-reads"
SASL = {
    "METERSTREAM_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "METERSTREAM_SASL_MECHANISM": "SCRAM-SHA-512",
    "METERSTREAM_SASL_USERNAME": "worker",
    "METERSTREAM_SASL_PASSWORD": SECRET,
}


def problems_of(**changed: str | None) -> list[str]:
    environ = SASL | {f"METERSTREAM_{name.upper()}": value for name, value in changed.items()}
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value for name, value in environ.items() if value is not None})
    assert SECRET not in str(caught.value)
    return list(caught.value.problems)


def test_a_password_is_used_and_never_shown() -> None:
    settings = load_settings(SASL)
    assert client_options(settings)["sasl_plain_password"] == SECRET
    shown = f"{settings} {settings!r} {settings.model_dump()} {describe(settings)}"
    assert SECRET not in shown
    assert {one.name: one.value for one in describe(settings)}["sasl_password"] == "***"


def test_a_password_in_a_file_is_read_for_each_client(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n", encoding="utf-8")
    given = {name: value for name, value in SASL.items() if name != "METERSTREAM_SASL_PASSWORD"}
    settings = load_settings(given | {"METERSTREAM_SASL_PASSWORD_FILE": str(file)})
    assert client_options(settings)["sasl_plain_password"] == "first"
    file.write_text("second", encoding="utf-8")
    assert client_options(settings)["sasl_plain_password"] == "second"


def test_everything_that_is_missing_is_told_at_once() -> None:
    problems = problems_of(sasl_mechanism=None, sasl_username=None, sasl_password=None, partitions="many")
    assert problems == [
        "METERSTREAM_PARTITIONS='many': expected a valid integer, unable to parse string as an integer",
        "METERSTREAM_SECURITY_PROTOCOL=SASL_PLAINTEXT needs METERSTREAM_SASL_MECHANISM",
        "METERSTREAM_SECURITY_PROTOCOL=SASL_PLAINTEXT needs METERSTREAM_SASL_USERNAME",
        "METERSTREAM_SECURITY_PROTOCOL=SASL_PLAINTEXT needs METERSTREAM_SASL_PASSWORD or METERSTREAM_SASL_PASSWORD_FILE",
    ]


def test_what_the_protocol_does_not_use_is_a_problem() -> None:
    assert problems_of(security_protocol="PLAINTEXT") == [
        f"METERSTREAM_{name} is set, and METERSTREAM_SECURITY_PROTOCOL=PLAINTEXT does not use it"
        for name in ("SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD")
    ]
    (problem,) = problems_of(ssl_check_hostname="false")
    assert problem.startswith("METERSTREAM_SSL_CHECK_HOSTNAME is off")


def test_files_and_their_passwords_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    problems = problems_of(
        security_protocol="SASL_SSL", sasl_password_file=str(file), ssl_certfile=SECRET, ssl_key_password=SECRET
    )
    assert problems == [
        "METERSTREAM_SASL_PASSWORD and METERSTREAM_SASL_PASSWORD_FILE are both set: expected one of them",
        "METERSTREAM_SSL_CERTFILE needs METERSTREAM_SSL_KEYFILE",
        "the password of a key needs METERSTREAM_SSL_KEYFILE",
        "METERSTREAM_SASL_PASSWORD_FILE: the file that it names is empty",
        "METERSTREAM_SSL_CERTFILE: the file that it names cannot be read (no such file or directory)",
    ]


def test_a_key_of_another_certificate_and_no_certificate_at_all_are_problems(tmp_path: Path) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("one.example"), authority.issue_cert("other.example")
    certfile, keyfile, nonsense = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    one.cert_chain_pems[0].write_to_path(str(certfile))
    other.private_key_pem.write_to_path(str(keyfile))
    nonsense.write_text("no certificate", encoding="utf-8")
    (problem,) = problems_of(security_protocol="SASL_SSL", ssl_certfile=str(certfile), ssl_keyfile=str(keyfile))
    assert problem.startswith("METERSTREAM_SSL_CERTFILE: the certificates cannot be used (key values mismatch)")
    (problem,) = problems_of(security_protocol="SASL_SSL", ssl_cafile=str(nonsense))
    assert problem.startswith("METERSTREAM_SSL_CAFILE: the certificates cannot be used (")


def test_a_secret_under_a_mistyped_name_is_not_shown() -> None:
    assert problems_of(sasl_pasword=SECRET) == [
        "METERSTREAM_SASL_PASWORD is no setting; did you mean METERSTREAM_SASL_PASSWORD?"
    ]


def test_a_settings_object_that_is_refused_shows_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(sasl_password=SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)
