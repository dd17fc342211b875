"""Secrets: none is read from where others may see it, and none is shown in a text."""

import io
import json
import os
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from bench.hostile_cases.case import Place, cases, entry
from bench.hostile_cases.host.requests import asked, endpoint

_SECRET: Final = "gallop horse/battery"  # noqa: S105 of no account
_UNUSUAL: Final = "gallöp/zquörk 'ß\\"
_WORDS: Final = ("gallop", "hunter2", "zqu")


def _kept(text: str, what: str) -> str:
    found = [word for word in _WORDS if word in text]
    return f"LEAKED: {text}" if found else f"{what}: {text}"


def _configured(toml: str) -> Callable[[Place], str]:
    """Load a configuration file."""

    def run(place: Place) -> str:
        path = place.folder / "scorer.toml"
        path.write_text(toml, encoding="utf-8")
        error = entry("stream_scorer.errors", "SettingsError")
        try:
            entry("stream_scorer.settings", "load_settings")(config=path)
        except error as refused:
            return _kept(str(refused), "refused")
        return "accepted"

    return run


def _mounted(*names: str) -> Callable[[Place], str]:
    """Load settings with a folder of secret files; without names there is no folder."""

    def run(place: Place) -> str:
        folder = place.folder / "secrets"
        for name in names:
            folder.mkdir(exist_ok=True)
            (folder / name).write_text("hunter2", encoding="utf-8")
        os.environ["STREAM_SCORER_SECRETS_DIR"] = str(folder)
        error = entry("stream_scorer.errors", "SettingsError")
        try:
            entry("stream_scorer.settings", "load_settings")()
        except error as refused:
            return _kept(str(refused), "refused")
        return "accepted"

    return run


def _with_secret(secret: str = _SECRET) -> None:
    os.environ["STREAM_SCORER_REGISTRY__PASSWORD"] = secret
    os.environ["STREAM_SCORER_REGISTRY__USER"] = "me"
    entry("stream_scorer.settings", "load_settings")()


def _told(say: Callable[[str], str], text: str, secret: str = _SECRET) -> Callable[[Place], str]:
    """Send a text that quotes a secret through one door."""

    def run(_: Place) -> str:
        _with_secret(secret)
        return _kept(say(text), "masked")

    return run


def _error(text: str) -> str:
    return str(entry("stream_scorer.errors", "UnavailableError")(text))


def _log(text: str) -> str:
    stream = io.StringIO()
    logger = entry("stream_scorer.observability.logging", "process_logger")("scorer", stream=stream)
    logger.error("x", detail=text)
    return stream.getvalue()


def _letter(text: str) -> str:
    import numpy as np  # noqa: PLC0415 as the product

    ports = entry("stream_scorer.ports")
    column, zero = ports.BytesColumn.of([b"v"]), np.zeros(1, np.int64)
    raw = ports.RawRecords(column, column, None, zero.astype(np.int32), zero, zero)
    made = entry("stream_scorer.dead_letters.format", "dead_letters")(
        raw, [0], ["UNKNOWN_SCHEMA"], [text], topic="d", source_topic="t", instance="0"
    )
    # Older trees return a list of records.
    (headers,) = [each.headers for each in made] if isinstance(made, list) else made.headers
    return " ".join((value or b"").decode() for _, value in headers)


def _health(text: str) -> str:
    health = entry("stream_scorer.observability.health", "Health")()
    health(entry("stream_scorer.telemetry", "DependencyUnavailable")("registry", text))
    with endpoint(health) as server:
        return asked(server.port, b"GET /health/ready HTTP/1.0\r\n\r\n").decode()


def _down(url: str) -> Callable[[Place], str]:
    """Ask a registry that is down."""

    def run(_: Place) -> str:
        registry = entry("stream_scorer.settings", "Registry")
        error = entry("stream_scorer.errors", "StreamScorerError")
        made = {"url": url, "user": "me", "password": _SECRET} if "@" not in url else {"url": url}
        try:
            found = entry("stream_scorer.registry.http_registry", "HttpRegistry")(
                registry.model_validate(made)
            )
            found.writer_schema(1)
        except (error, ValueError) as refused:
            return _kept(str(refused.errors()[0]["msg"] if hasattr(refused, "errors") else refused),
                         "refused")  # fmt: skip
        return "answered"

    return run


def _settings_shown(_: Place) -> str:
    """Show settings whose Kafka client holds a private key's password."""
    options: dict[str, Any] = {"ssl.key.password": "hunter2"}
    kafka = entry("stream_scorer.settings", "Kafka")(bootstrap="b:1", client=options)
    return _kept(f"{kafka!r} {kafka.model_dump_json()}", "masked")


def _unverified(_: Place) -> str:
    """Switch the verification of brokers off."""
    options = entry("stream_scorer.cli.options")
    err = io.StringIO()
    import contextlib  # noqa: PLC0415 only here

    with contextlib.redirect_stderr(err):
        options.connected_settings(
            None, "b:1", {"kafka": {"client": {"enable.ssl.certificate.verification": False}}}
        )
    return f"warned: {err.getvalue()}" if "warning" in err.getvalue() else "nothing was said"


CASES: Final = cases(
    "secret", 13,
    ("credentials in registry.url", "credentials", "refused: ",
     _configured('[registry]\nurl = "http://me:hunter2@127.0.0.1:8081"\n')),
    ("a token as the user of registry.url", "credentials", "refused: ",
     _configured('[registry]\nurl = "http://hunter2@127.0.0.1:8081"\n')),
    ("a registry that is down, its URL with credentials", "credentials", "refused: ",
     _down("http://me:hunter2@127.0.0.1:9")),
    ("a registry that is down", "redactor", "refused: ", _down("http://127.0.0.1:9")),
    ("a private key's password in the file", "secret-files", "refused: ",
     _configured('[kafka.client]\n"ssl.key.password" = "hunter2"\n')),
    ("a private key in the file", "secret-files", "refused: ",
     _configured('[kafka.client]\n"ssl.key.pem" = "hunter2"\n')),
    ("a password in state.url", "secret-files", "refused: ",
     _configured('[state]\nurl = "s3://key:hunter2@bucket/path"\n')),
    ("a folder of secret files that is not there", "secret-folder", "refused: ", _mounted(),
     "is not a directory"),
    ("two files for one secret", "secret-folder", "refused: ",
     _mounted("registry__password", "REGISTRY__PASSWORD"), "names the same setting"),
    ("an error that quotes a password", "redactor", "masked: ",
     _told(_error, f"cannot log in with {_SECRET}")),
    ("an error that quotes an address", "redactor", "masked: ",
     _told(_error, "no route to https://user:gallop@registry:8081/x")),
    ("a log line that quotes a password", "redactor", "masked: ",
     _told(_log, f"cannot log in with {_SECRET}")),
    ("a dead letter that quotes a URL-encoded password", "redactor", "masked: ",
     _told(_letter, "GET https://registry/?key=gallop%20horse%2Fbattery")),
    *(
        (f"an error that quotes a password {how}", "escaped-secrets", "masked: ",
         _told(_error, f"cannot log in: key {form} is wrong", _UNUSUAL), r"key .*\*\*\*.* is")
        for how, form in (
            ("as ascii", ascii(_UNUSUAL)),
            ("as repr, with more quotes", repr([_UNUSUAL, '"'])),
            ("in JSON", json.dumps(_UNUSUAL)),
            ("in bytes", repr(_UNUSUAL.encode())),
            ("in a URL, in lower case", quote(_UNUSUAL).replace("%C3%B6", "%c3%b6")),
        )
    ),
    ("health that quotes an option", "redactor", "masked: ",
     _told(_health, "refused: sasl.password=gallop")),
    ("settings that are shown", "redactor", "masked: ", _settings_shown),
    ("brokers that are not verified", "verification", "warned: ", _unverified),
)  # fmt: skip
