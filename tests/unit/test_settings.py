"""Where settings are read from, which source overrides which, and refusals in one line."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics import client_options
from stream_scorer.setting_groups.cluster import _OWN_OPTIONS
from stream_scorer.settings import Kafka, Settings, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAM_SCORER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scorer.toml"
    path.write_text(
        '[kafka]\nbootstrap = "toml:1"\ngroup = "toml"\ninstance = "toml"\npassword = "toml"\n'
        '[kafka.topics]\ndecisions = "toml"\n[kafka.client]\n"security.protocol" = "SSL"\n'
    )
    return path


def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    monkeypatch.setenv("STREAM_SCORER_SECRETS_DIR", str(directory))
    return directory


def refusal(**given: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(**given)
    assert "\n" not in str(refused.value)
    assert refused.value.fix
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_each_source_is_stronger_than_the_one_before(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(**given: Any) -> tuple[str, str, str, str, str]:
        kafka = load_settings(config=file, **given).kafka
        assert kafka.password is not None
        secret = kafka.password.get_secret_value()
        return kafka.topics.decisions, kafka.bootstrap, kafka.group, kafka.instance, secret

    assert Settings().kafka.group == "stream-scorer"
    assert seen() == ("toml", "toml:1", "toml", "toml", "toml")
    for name in ("BOOTSTRAP", "GROUP", "INSTANCE", "PASSWORD"):
        monkeypatch.setenv(f"STREAM_SCORER_KAFKA__{name}", "env")
    assert seen() == ("toml", "env", "env", "env", "env")
    secrets(
        tmp_path,
        monkeypatch,
        {"kafka__group": "file\n", "kafka__instance": "file", "KAFKA__PASSWORD": "p w "},
    )
    assert seen() == ("toml", "env", "file", "file", "p w ")
    assert seen(overrides={"kafka": {"instance": "flag"}})[3] == "flag"


def test_tables_of_several_sources_are_merged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SCORER_KAFKA__TOPICS__LABELS", "env")
    monkeypatch.setenv("STREAM_SCORER_SCORER__MAXIMUM_BATCH", "7")
    loaded = load_settings({"http": {"port": 0}}, file)
    assert (loaded.kafka.topics.decisions, loaded.kafka.topics.labels) == ("toml", "env")
    assert (loaded.scorer.maximum_batch, loaded.http.port) == (7, 0)
    assert loaded.kafka.client == {"security.protocol": "SSL"}


def test_the_variable_names_the_file_and_the_flag_another(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[kafka]\ngroup = "other"\n')
    monkeypatch.setenv("STREAM_SCORER_CONFIG", str(other))
    assert load_settings().kafka.group == "other"
    assert load_settings(config=file).kafka.group == "toml"


def test_a_dotenv_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("STREAM_SCORER_KAFKA__GROUP=dotenv\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().kafka.group == "stream-scorer"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[kafka]\nbootstrp = 'x'", "setting kafka.bootstrp: unknown key"),
        ("[kafak]\nbootstrap = 'x'", "setting kafak: unknown key"),
        ("[kafka.topics]\ndecision = 'x'", "setting kafka.topics.decision: unknown key"),
        ("kafka = 'b:9092'", "setting kafka: "),
        ("[http]\nport = 65536", "setting http.port: "),
        ("[http]\nport = 'web'", "setting http.port: "),
        ("[scorer]\nmaximum_batch = 0", "setting scorer.maximum_batch: "),
        ("[state]\nwrite_format = 3", "setting state.write_format: "),
        ("[state]\nwrite_format = true", "setting state.write_format: "),
        ("[kafka]\ninstance = 'a b'", "setting kafka.instance: "),
        ("[kafka]\ngroup_protocol = 'eager'", "setting kafka.group_protocol: "),
        (
            "[kafka]\ngroup_protocol = 'consumer'\nsession_timeout_ms = 9000",
            "setting kafka: .*group.consumer.session.timeout.ms",
        ),
        (
            "[kafka]\ntransaction_timeout_ms = 5000",
            r"setting kafka: .*socket_timeout_ms \(10000\) .*transaction_timeout_ms \(5000\) \+",
        ),
        (
            "[kafka]\nsocket_timeout_ms = 300000",
            r"setting kafka: .*socket_timeout_ms \(300000\) .*transaction_timeout_ms \(15000\)",
        ),
        (
            "[kafka]\nmax_poll_interval_ms = 5000",
            r"setting kafka: .*max_poll_interval_ms \(5000\) .*session_timeout_ms \(10000\)",
        ),
        (
            "[scorer]\nmodel_timeout_ms = 150000",
            r"settings: .*scorer.model_timeout_ms \(150000\) .* kafka.max_poll_interval_ms \(",
        ),
        (
            "[kafka.client]\n'group.instance.id' = 'a'",
            "setting kafka.client: .*set kafka.static_membership",
        ),
        ("[monitor]\nsignals = ['score']", "setting monitor.signals: "),
        ("[monitor]\ndelta = 0.1", "setting monitor.delta: "),
        ("[kafka", "configuration .*scorer.toml: not TOML: "),
        ("a = " + "[" * 100_000, "configuration .*scorer.toml: nested deeper than 64 levels"),
    ],
)
def test_a_file_with_impossible_values_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    assert re.match(message, refusal(config=file))


@pytest.mark.parametrize(
    ("kafka", "scorer", "seconds"),
    [
        ({}, {}, 61.0),
        ({"transaction_timeout_ms": 900_000}, {}, 1_831.0),
        ({}, {"model_timeout_ms": 149_999}, 209.999),
        ({}, {"stuck_seconds": 62.0}, 62.0),
        ({}, {"stuck_seconds": 1.0}, 61.0),
    ],
)
def test_a_loop_counts_as_dead_only_after_its_own_longest_waits(
    kafka: dict[str, Any], scorer: dict[str, Any], seconds: float
) -> None:
    loaded = load_settings({"kafka": kafka, "scorer": scorer})
    assert loaded.heartbeat_seconds == pytest.approx(seconds)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "none.toml: No such file" in refusal(config=tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "binary.toml: not TOML" in refusal(config=tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STREAM_SCORER_KAFKAA__GROUP", "x", "environment variable STREAM_SCORER_KAFKAA__GROUP"),
        ("STREAM_SCORER_BOOTSTRAP", "x", "environment variable STREAM_SCORER_BOOTSTRAP"),
        ("STREAM_SCORER_KAFKA_GROUP", "x", "environment variable STREAM_SCORER_KAFKA_GROUP"),
        ("STREAM_SCORER_KAFKA__GRUOP", "x", "setting kafka.gruop: unknown key"),
        ("STREAM_SCORER_KAFKA", "b:9092", "environment: "),
        ("STREAM_SCORER_SCORER__MAXIMUM_BATCH", "many", "setting scorer.maximum_batch: "),
        ("STREAM_SCORER_SECRETS_DIR", "/nowhere", "STREAM_SCORER_SECRETS_DIR: /nowhere is no"),
        ("STREAM_SCORER_CONFIG", "/nowhere.toml", "configuration /nowhere.toml: No such file"),
    ],
)  # fmt: skip
def test_a_variable_with_an_impossible_value_is_refused(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert refusal().startswith(message)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"kafka__pasword": "x"}, "setting kafka.pasword: unknown key"),
        ({"password": "x"}, "setting password: unknown key"),
        ({"kafka__password__more": "x"}, "setting kafka.password: "),
        ({"kafka__password": "x", "kafka__password__more": "y"}, "secret file "),
        ({"kafka": "x", "kafka__password": "y"}, "secret file "),
        ({"kafka__group": "x", "KAFKA__GROUP": "y"}, "secret file "),
    ],
)
def test_a_secret_file_that_no_setting_reads_is_refused(
    files: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets(tmp_path, monkeypatch, files)
    assert refusal().startswith(message)


def test_a_secret_file_that_is_not_text_is_refused_unprinted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets(tmp_path, monkeypatch, {}) / "kafka__password").write_bytes(b"secret\xff")
    message = refusal()
    assert message.startswith("secret file ")
    assert "kafka__password" in message
    assert "secret\\xff" not in message


def test_kubernetes_own_mounts_next_to_secrets_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = secrets(tmp_path, monkeypatch, {"kafka__group": "file"})
    (directory / "..data").mkdir()
    (directory / "..2026_11_24").write_text("x")
    assert load_settings().kafka.group == "file"


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(tmp_path, monkeypatch, {"kafka__password": "hunter2", "registry__password": "hunter3"})
    loaded = load_settings()
    assert loaded.registry.password is not None
    assert loaded.registry.password.get_secret_value() == "hunter3"
    for text in (repr(loaded), str(loaded), loaded.model_dump_json(), str(loaded.kafka)):
        assert "hunter" not in text


def test_a_refused_secret_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SCORER_KAFKA__PASSWORD__DEEP", "hunter2")
    assert "hunter2" not in refusal()


def test_settings_do_not_change_after_they_are_read() -> None:
    loaded = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        loaded.kafka.group = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "mend"),
    [
        ("isolation.level", "the program sets it itself"),
        ("sasl.password", "set kafka.password"),
        ("socket.timeout.ms", "set kafka.socket_timeout_ms"),
    ],
)
def test_a_client_option_that_is_ours_is_refused(option: str, mend: str) -> None:
    message = refusal(overrides={"kafka": {"client": {option: "x"}}})
    assert message.startswith("setting kafka.client: ")
    assert f"{option} cannot stand here: {mend}" in message


def test_client_options_that_override_ours_are_refused() -> None:
    kafka = Settings().kafka
    ours = set(client_options.consumer(kafka)) | set(client_options.producer(kafka, "id"))
    free = {
        "log_level", "reconnect.backoff.max.ms", "reconnect.backoff.ms", "retry.backoff.max.ms",
        "retry.backoff.ms", "socket.nagle.disable",
    }  # fmt: skip
    assert ours - set(_OWN_OPTIONS) == free
    given = Kafka(client=dict.fromkeys(free, 1))
    for options in (client_options.consumer(given), client_options.producer(given, "id")):
        assert {name: options[name] for name in free} == dict.fromkeys(free, 1)


@pytest.mark.parametrize(
    "line",
    [
        *(
            f"[{group}]\n{key} = {value}"
            for group, key in (
                ("scorer", "shutdown_seconds"), ("scorer", "stuck_seconds"),
                ("scorer", "maximum_linger_ms"), ("scorer", "model_timeout_ms"),
                ("kafka", "session_timeout_ms"), ("kafka", "max_poll_interval_ms"),
                ("kafka", "socket_timeout_ms"), ("kafka", "transaction_timeout_ms"),
                ("registry", "timeout_seconds"), ("registry", "negative_cache_seconds"),
                ("state", "bytes_per_event"), ("state", "buckets_per_second"),
                ("monitor", "delta"), ("http", "port"),
            )
            for value in ("inf", "nan", "-1", "true", "1" + "0" * 30)
        ),
        '[kafka.topics]\ntransactions = ""',
        '[kafka.topics]\nlabels = "a b"',
        f'[kafka.topics]\nstate = "{"x" * 250}"',
    ],
)  # fmt: skip
def test_an_invalid_number_or_name_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text(line)
    group, key = line.removeprefix("[").replace("]\n", ".").split(" = ")[0].rsplit(".", 1)
    assert refusal(config=path).startswith(f"setting {group}.{key}: ")


def test_a_number_of_too_many_digits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text("[http]\nport = " + "1" * 5_000)
    assert refusal(config=path).startswith(f"configuration {path}: not TOML: ")


def test_a_boolean_in_a_variable_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SCORER_KAFKA__CLIENT", '{"enable.sparse.connections": true}')
    assert load_settings().kafka.client == {"enable.sparse.connections": True}
    monkeypatch.setenv("STREAM_SCORER_HTTP__PORT", "true")
    assert refusal().startswith("setting http.port: ")


def test_an_instance_may_be_the_hosts_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "scorer-1.example")
    assert load_settings({"kafka": {"instance": "@hostname"}}).kafka.instance == "scorer-1.example"
    monkeypatch.setattr("socket.gethostname", lambda: "two words")
    with pytest.raises(SettingsError, match=r"kafka\.instance"):
        load_settings({"kafka": {"instance": "@hostname"}})
    with pytest.raises(SettingsError, match=r"kafka\.instance"):
        load_settings({"kafka": {"instance": "@other"}})


@pytest.mark.parametrize(
    "url", ["", "https://alarms.example.com/drift", "http://localhost:8080", "http://[::1]/a"]
)
def test_a_webhook_is_encrypted_or_on_loopback(url: str) -> None:
    assert load_settings({"monitor": {"webhook_url": url}}).monitor.webhook_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://alarms.example.com",
        "http://127.0.0.1.example.com",
        "ftp://localhost",
        "https://",
        "a",
    ],
)
def test_a_webhook_in_clear_text_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"monitor.webhook_url: .*needs https"):
        load_settings({"monitor": {"webhook_url": url}})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "https://example.com/a b",
        "https://example.com/ключ",
        "https://example.com/a\nb",
    ],
)
def test_a_webhook_that_no_request_can_name_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"monitor.webhook_url: "):
        load_settings({"monitor": {"webhook_url": url}})


def test_a_webhook_with_credentials_is_refused_unprinted() -> None:
    with pytest.raises(SettingsError, match=r"monitor.webhook_url: ") as caught:
        load_settings({"monitor": {"webhook_url": "https://ann:hunter2@alarms.example.com"}})
    assert "hunter2" not in str(caught.value)


def test_the_begin_of_the_histories_needs_an_offset() -> None:
    for text in ("", "2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00"):
        assert load_settings({"monitor": {"history_from": text}}).monitor.history_from == text
    for text in ("9999-01-01T00:00:00Z", "2026-01-31T00:00:00", "yesterday"):
        with pytest.raises(SettingsError, match=r"monitor.history_from: "):
            load_settings({"monitor": {"history_from": text}})
