"""Settings: read from a mapping, every mistake told at once."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, SettingsError, describe, load_settings, variable_of


def problems_of(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return caught.value.problems


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert (settings.bootstrap_servers, settings.app_id, settings.partitions) == ("localhost:9092", "meterstream", 8)
    assert settings.instance_id is None


def test_values_come_from_the_given_mapping_and_not_from_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSTREAM_PARTITIONS", "3")
    assert load_settings({"METERSTREAM_PARTITIONS": "5"}).partitions == 5
    assert load_settings({}).partitions == 8
    assert Settings().partitions == 8
    assert load_settings().partitions == 3


def test_every_field_can_be_set_by_its_variable() -> None:
    defaults = Settings()
    environ = {one.variable: one.value for one in describe(defaults)}
    assert load_settings(environ) == defaults


def test_the_shared_kafka_variable_is_read_when_ours_is_not_set() -> None:
    shared = {"KAFKA_BOOTSTRAP_SERVERS": "a:1, b:2"}
    assert load_settings(shared).bootstrap_servers == "a:1,b:2"
    assert load_settings(shared | {"METERSTREAM_BOOTSTRAP_SERVERS": "c:3"}).bootstrap_servers == "c:3"


def test_a_problem_names_the_variable_that_was_read() -> None:
    (problem,) = problems_of({"KAFKA_BOOTSTRAP_SERVERS": "nowhere"})
    assert problem == "KAFKA_BOOTSTRAP_SERVERS='nowhere': expected host:port, or several with commas between them"


def test_every_problem_is_told_at_once() -> None:
    problems = problems_of(
        {
            "METERSTREAM_PARTITIONS": "many",
            "METERSTREAM_EMIT_EVERY_S": "-1",
            "METERSTREAM_LOG_LEVEL": "loud",
            "METERSTREAM_APP_ID": "",
            "METERSTREAM_TOPIC_PREFIX": "a b",
            "METERSTREAM_PARTITION": "3",
        }
    )
    text = "\n".join(problems)
    assert len(problems) == 6
    assert "METERSTREAM_PARTITIONS='many': expected a valid integer" in text
    assert "METERSTREAM_EMIT_EVERY_S='-1': expected greater than or equal to 0" in text
    assert "METERSTREAM_LOG_LEVEL='loud': expected 'debug', 'info', 'warning' or 'error'" in text
    assert "METERSTREAM_PARTITION is no setting; did you mean METERSTREAM_PARTITIONS?" in text


def test_a_variable_that_resembles_no_setting_is_a_problem_too() -> None:
    (problem,) = problems_of({"METERSTREAM_XYZZY": "1"})
    assert problem.startswith("METERSTREAM_XYZZY is no setting")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"METERSTREAM_HEARTBEAT_INTERVAL_MS": "5000"}, "METERSTREAM_HEARTBEAT_INTERVAL_MS=5000"),
        ({"METERSTREAM_COMMIT_INTERVAL_MS": "2000"}, "METERSTREAM_COMMIT_INTERVAL_MS=2000"),
        ({"METERSTREAM_MAX_RECORD_BYTES": "8000000"}, "METERSTREAM_MAX_RECORD_BYTES=8000000"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], named: str) -> None:
    (problem,) = problems_of(environ)
    assert problem.startswith(named)


def test_contradictions_are_told_beside_values_that_are_not_allowed() -> None:
    problems = problems_of(
        {
            "METERSTREAM_PARTITIONS": "0",
            "METERSTREAM_HEARTBEAT_INTERVAL_MS": "6000.0",
            "METERSTREAM_COMMIT_INTERVAL_MS": "2000",
            "METERSTREAM_MAX_RECORD_BYTES": "8000000",
            "METERSTREAM_FETCH_MAX_BYTES": "few",
        }
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "METERSTREAM_PARTITIONS='0'",
        "METERSTREAM_FETCH_MAX_BYTES='few'",  # and the largest record is not compared with what nobody asked for
        "METERSTREAM_HEARTBEAT_INTERVAL_MS=6000",
        "METERSTREAM_COMMIT_INTERVAL_MS=2000",
    ]


def test_contradictions_are_told_beside_variables_that_are_no_settings() -> None:
    problems = problems_of({"METERSTREAM_COMMIT_INTERVAL_MS": "2000", "METERSTREAM_LINGER": "3"})
    assert [problem.partition(":")[0] for problem in problems] == [
        "METERSTREAM_COMMIT_INTERVAL_MS=2000",
        "METERSTREAM_LINGER is no setting; did you mean METERSTREAM_LINGER_MS?",
    ]


@pytest.mark.parametrize("off", ["off", "none", "", "OFF"])
def test_an_optional_setting_can_be_switched_off(off: str) -> None:
    assert load_settings({"METERSTREAM_INSTANCE_ID": off}).instance_id is None


@pytest.mark.parametrize("text", ["nan", "inf", "1e99"])
def test_a_duration_is_finite(text: str) -> None:
    assert "METERSTREAM_EMIT_EVERY_S" in problems_of({"METERSTREAM_EMIT_EVERY_S": text})[0]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().partitions = 3  # type: ignore[misc]


def test_describe_tells_every_setting_with_a_meaning() -> None:
    described = describe(Settings(data_dir=Path("here")))
    assert [one.name for one in described] == list(Settings.model_fields)
    assert all(one.meaning.endswith(".") for one in described)
    assert [one.variable for one in described] == [variable_of(one.name) for one in described]
    assert {one.name: one.value for one in described}["data_dir"] == "here"
