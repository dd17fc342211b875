"""No secret leaves the process, and none is read from where other users may see it."""

import importlib
import io
import json
import os
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream_scorer.cli.options import connected_settings
from stream_scorer.dead_letters import format as letter_format
from stream_scorer.errors import RegistryUnavailableError, SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.health import Health
from stream_scorer.observability.logging import process_logger
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.redaction import MASK, redacted, remember
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.security.api_keys import generate_key
from stream_scorer.settings import Http, Registry, load_settings
from stream_scorer.telemetry import DependencyUnavailable

main: Any = importlib.import_module("stream_scorer.cli.main")
SECRET = "correct horse/battery"  # noqa: S105 not a real secret
ESCAPED = "correct%20horse%2Fbattery"
TEXTS = (
    f"cannot log in with {SECRET}",
    f"GET https://registry/?key={ESCAPED}",
    "no route to https://user:correct@registry:8081/x",
    "no route to https://correct@registry:8081/x",
    "refused: sasl.password=correct",
    """refused: {"ssl.key.password": "correct"}""",
)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAM_SCORER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STREAM_SCORER_REGISTRY__PASSWORD", SECRET)
    load_settings()


@pytest.mark.parametrize("text", TEXTS)
class TestEveryDoor:
    def test_an_error(self, text: str) -> None:
        assert "correct" not in str(UnavailableError(text, "mend"))

    def test_a_log_line(self, text: str) -> None:
        stream = io.StringIO()
        process_logger("scorer", stream=stream).error("x", detail=text)
        assert "correct" not in stream.getvalue()

    def test_health(self, text: str) -> None:
        health = Health()
        health(DependencyUnavailable("registry", text))
        with Endpoint(Http(port=0), CollectorRegistry(), health) as endpoint:
            with pytest.raises(HTTPError) as answer:
                urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/health/ready")
            with answer.value as body:
                said = body.read().decode()
        assert "paused: registry" in said
        assert "correct" not in said

    def test_a_dead_letter(self, text: str) -> None:
        zero = np.zeros(1, np.int64)
        column = BytesColumn.of([b"v"])
        raw = RawRecords(column, column, None, zero.astype(np.int32), zero, zero)
        letter = letter_format.dead_letters(
            raw, [0], ["UNKNOWN_SCHEMA"], [text], topic="d", source_topic="t", instance="0"
        )
        assert not any(
            b"correct" in (value or b"") for _, value in (letter.headers or [None])[0] or ()
        )

    def test_a_stack_trace(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        main._trace(ValueError, ValueError(text), None)
        said = capsys.readouterr().err
        assert "ValueError" in said
        assert "correct" not in said


def test_an_api_key_and_a_token_are_masked_wherever_they_are() -> None:
    key = generate_key().text
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzaG9wLTcifQ.c2lnbmF0dXJl"  # noqa: S105 not a real one
    for secret in (key, token):
        for text in (f"Bearer {secret}", f"x={secret},", f'{{"a": "{secret}"}}', secret + "\n"):
            assert secret[17:] not in redacted(text)
    for text in ("the prefix is ssk_", "eyJ is base64", "eyJhbGciOiJFUzI1NiJ9 alone"):
        assert redacted(text) == text
    begin = time.thread_time()
    redacted("eyJ" * 300_000)
    assert time.thread_time() - begin < 5.0


def test_what_is_not_a_secret_stays() -> None:
    for text in (
        "setting kafka.password: unknown key",
        "environment variable STREAM_SCORER_KAFKA__PASSWORD: no such setting",
        "secret file /run/secrets/kafka__password: Permission denied",
        "registry https://registry:8081/a@b: HTTP 503",
    ):
        assert redacted(text) == text
    remember("short")
    assert redacted("a short text") == "a short text"


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@registry:8081", "http://a:8081,https://hunter2@b:8081"]
)
def test_credentials_in_the_registrys_url_are_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text(f'[registry]\nurl = "{url}"\n')
    with pytest.raises(SettingsError) as in_file:
        load_settings(config=path)
    with pytest.raises(SettingsError) as as_flag:
        load_settings({"registry": {"url": url}})
    monkeypatch.setenv("STREAM_SCORER_REGISTRY__URL", url)
    with pytest.raises(SettingsError) as in_variable:
        load_settings()
    for refused in (in_file, as_flag, in_variable):
        assert "registry.user and registry.password" in str(refused.value)
        assert "hunter2" not in str(refused.value)


def test_the_error_of_a_registry_outage_contains_no_password() -> None:
    registry = Registry.model_validate(
        {"url": "http://127.0.0.1:9", "user": "me", "password": SECRET}
    )
    with pytest.raises(RegistryUnavailableError) as down:
        HttpRegistry(registry).writer_schema(1)
    assert "correct" not in str(down.value)


OPTIONS = [
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.passphrase",
]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_secret_of_the_kafka_client_is_refused_in_the_file(option: str, tmp_path: Path) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text(f'[kafka.client]\n"{option}" = "hunter2"\n')
    with pytest.raises(SettingsError) as refused:
        load_settings(config=path)
    assert option in refused.value.what
    assert f"kafka__client__{option}" in refused.value.fix
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("source", ["file", "variable"])
def test_a_kafka_client_secret_comes_from_a_file_or_a_variable(
    option: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text('[kafka.client]\n"security.protocol" = "SSL"\n')
    if source == "file":
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / f"kafka__client__{option}").write_text("hunter2\n")
        monkeypatch.setenv("STREAM_SCORER_SECRETS_DIR", str(tmp_path / "secrets"))
    else:
        monkeypatch.setenv("STREAM_SCORER_KAFKA__CLIENT", json.dumps({option: "hunter2"}))
    loaded = load_settings(config=path)
    options = client_options.common(loaded.kafka)
    assert (options[option], options["security.protocol"]) == ("hunter2", "SSL")
    for text in (repr(loaded), str(loaded.kafka), loaded.model_dump_json()):
        assert "hunter2" not in text
    assert "hunter2" not in redacted("broker said hunter2")


@pytest.mark.parametrize("group", ["state", "models"])
def test_a_password_in_a_stores_url_is_refused_in_the_file_alone(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, url = tmp_path / "scorer.toml", "s3://key:hunter2@bucket/path"
    path.write_text(f'[{group}]\nurl = "{url}"\n')
    with pytest.raises(SettingsError, match=rf"password in {group}\.url") as refused:
        load_settings(config=path)
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv(f"STREAM_SCORER_{group.upper()}__URL", url)
    found: Any = getattr(load_settings(), group)
    assert found.url == url


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("enable.ssl.certificate.verification", False),
        ("enable.ssl.certificate.verification", "false"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ],
)
def test_verification_that_is_off_is_warned_of(
    option: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    connected_settings(None, "b:1", {"kafka": {"client": {option: value}}})
    assert f"warning: kafka.client {option} is off" in capsys.readouterr().err
    connected_settings(None, "b:1", {"kafka": {"client": {"security.protocol": "SSL"}}})
    assert capsys.readouterr().err == ""


def test_an_error_that_is_not_ours_leaves_a_masked_stack_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as left:
        main.main()
    said = capsys.readouterr().err
    assert left.value.code == 1
    assert "ValueError: ***" in said
    assert SECRET not in said


def test_a_secret_that_begins_with_another_is_masked_entirely() -> None:
    remember("abcdef1")
    remember("abcdef1-long-tail")
    assert redacted("abcdef1-long-tail, abcdef1") == f"{MASK}, {MASK}"


def test_a_secret_is_masked_as_python_shows_it() -> None:
    remember("line\nbreak-secret")
    assert redacted(repr({"key": "line\nbreak-secret"})) == f"{{'key': '{MASK}'}}"


UNUSUAL = "Grün\\\\%schlüssel/\U0001f511 '\"&\n\x1b"
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "repr with a double quote": lambda secret: repr([secret + '"']),
    "ascii": ascii,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "ascii of repr": lambda secret: ascii(repr(secret)),
    "bytes": lambda secret: repr(secret.encode()),
    "UTF-8 read as Latin-1": lambda secret: secret.encode().decode("latin-1"),
    "backslashes": lambda secret: secret.encode("ascii", "backslashreplace").decode(),
    "unicode_escape": lambda secret: secret.encode("unicode_escape").decode(),
    "URL": quote,
    "URL with every character": lambda secret: quote(secret, safe=""),
    "URL in lower case": lambda secret: re.sub(
        "%[0-9A-F]{2}", lambda match: match[0].lower(), quote(secret)
    ),
    "URL in a URL": lambda secret: quote(quote(secret)),
    "form": quote_plus,
    "octal": lambda secret: "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03o}"
        for byte in secret.encode()
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_unusual_secret_is_masked_in_every_form(form: Callable[[str], str]) -> None:
    remember(UNUSUAL)
    said = redacted(f"key {form(UNUSUAL)} is wrong")
    assert MASK in said
    assert "schl" not in said
    assert "ssel" not in said


def test_an_escaped_secret_that_begins_with_another_is_masked() -> None:
    remember("abcdef2")
    remember("abcdef2-ü-tail")
    assert redacted("abcdef2-%C3%bc-tail") == MASK


def test_a_secret_of_backslashes_is_looked_for_in_a_short_time() -> None:
    remember("\\" * 40 + "end")
    began = time.process_time()
    redacted("\\" * 5_000)
    assert time.process_time() - began < 2
