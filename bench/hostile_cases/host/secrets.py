"""Secrets: none is read from where others may see it, and none leaves in a text."""

import io
import os
from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import Case, NotThereError, Place, entry
from bench.hostile_cases.host.requests import asked

_SECRET: Final = "gallop horse/battery"  # noqa: S105 of no account
_WORDS: Final = ("gallop", "hunter2")


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


def _with_secret() -> None:
    os.environ["STREAM_SCORER_REGISTRY__PASSWORD"] = _SECRET
    os.environ["STREAM_SCORER_REGISTRY__USER"] = "me"
    entry("stream_scorer.settings", "load_settings")()


def _told(say: Callable[[str], str], text: str) -> Callable[[Place], str]:
    """Let a text that quotes a secret leave through one door."""

    def run(_: Place) -> str:
        _with_secret()
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
    (letter,) = entry("stream_scorer.dead_letters.format", "dead_letters")(
        raw, [0], ["UNKNOWN_SCHEMA"], [text], topic="d", source_topic="t", instance="0"
    )
    return " ".join((value or b"").decode() for _, value in letter.headers)


def _health(text: str) -> str:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 only here

    health = entry("stream_scorer.observability.health", "Health")()
    health(entry("stream_scorer.telemetry", "DependencyUnavailable")("registry", text))
    try:
        endpoint = entry("stream_scorer.observability.endpoint", "Endpoint")
    except NotThereError:
        endpoint = entry("stream_scorer.observability.health", "Endpoint")
    http = entry("stream_scorer.settings", "Http")(port=0)
    with endpoint(http, CollectorRegistry(), health) as served:
        return asked(served.port, b"GET /health/ready HTTP/1.0\r\n\r\n").decode()


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


CASES: Final = (
    Case("secret: credentials in registry.url", 13, "credentials", "refused: ",
         _configured('[registry]\nurl = "http://me:hunter2@127.0.0.1:8081"\n')),
    Case("secret: a token as the user of registry.url", 13, "credentials", "refused: ",
         _configured('[registry]\nurl = "http://hunter2@127.0.0.1:8081"\n')),
    Case("secret: a registry that is down, its URL with credentials", 13, "credentials",
         "refused: ", _down("http://me:hunter2@127.0.0.1:9")),
    Case("secret: a registry that is down", 13, "redactor", "refused: ",
         _down("http://127.0.0.1:9")),
    Case("secret: a private key's password in the file", 13, "secret-files", "refused: ",
         _configured('[kafka.client]\n"ssl.key.password" = "hunter2"\n')),
    Case("secret: a private key in the file", 13, "secret-files", "refused: ",
         _configured('[kafka.client]\n"ssl.key.pem" = "hunter2"\n')),
    Case("secret: a password in state.url", 13, "secret-files", "refused: ",
         _configured('[state]\nurl = "s3://key:hunter2@bucket/path"\n')),
    Case("secret: a folder of secret files that is not there", 13, "secret-folder", "refused: ",
         _mounted(), words="is not a directory"),
    Case("secret: two files for one secret", 13, "secret-folder", "refused: ",
         _mounted("registry__password", "REGISTRY__PASSWORD"), words="names the same setting"),
    Case("secret: an error that quotes a password", 13, "redactor", "masked: ",
         _told(_error, f"cannot log in with {_SECRET}")),
    Case("secret: an error that quotes an address", 13, "redactor", "masked: ",
         _told(_error, "no route to https://user:gallop@registry:8081/x")),
    Case("secret: a log line that quotes a password", 13, "redactor", "masked: ",
         _told(_log, f"cannot log in with {_SECRET}")),
    Case("secret: a dead letter that quotes a URL-encoded password", 13, "redactor", "masked: ",
         _told(_letter, "GET https://registry/?key=gallop%20horse%2Fbattery")),
    Case("secret: health that quotes an option", 13, "redactor", "masked: ",
         _told(_health, "refused: sasl.password=gallop")),
    Case("secret: settings that are shown", 13, "redactor", "masked: ", _settings_shown),
    Case("secret: brokers that are not verified", 13, "verification", "warned: ", _unverified),
)  # fmt: skip
