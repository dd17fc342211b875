"""Texts from topics that reach a person's terminal."""

import io
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from bench.hostile_cases.case import NotThereError, Place, cases, entry
from bench.hostile_cases.data.decoding import Source, framed

CLIPBOARD: Final = "\x1b]52;c;c3RvbGVu\x07"
"""Sets the clipboard of a terminal that obeys it (OSC 52)."""
_DECISION: Final = {
    "decision": "BLOCK", "score": 0.9, "transaction_id": "t", "customer_id": "c",
    "reasons": ["AMOUNT"], "flags": [], "model": "fraud", "model_version": "1.0.0",
    "source_partition": 0, "source_offset": 7,
}  # fmt: skip


_AT: Final = {"partition": 0, "offset": 3, "source": None}


class _Message:
    """A record as the binding hands it out."""

    def __init__(
        self,
        value: bytes | None = b"",
        headers: list[tuple[str, bytes]] | None = None,
        timestamp: int = 5_000,
    ) -> None:
        self._found = {
            "value": value, "headers": headers, "timestamp": (1, timestamp), "partition": 0,
            "offset": 3, "key": None, "topic": "t", "error": None,
        }  # fmt: skip

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: self._found[name]


def letter(**changed: bytes) -> list[tuple[str, bytes]]:
    """Return a dead letter's headers; names without the dots of ``dlq.source.offset``."""
    names = entry("stream_scorer.dead_letters.format", "NAMES")
    good = dict(zip(names, (b"MALFORMED", b"d", b"t", b"0", b"1", b"2", b"i"), strict=True))
    return list((good | {name.replace("_", "."): value for name, value in changed.items()}).items())


def _printed(print_it: Callable[[], object]) -> str:
    """Report a command's output: how many lines, and whether it has terminal commands."""
    out = io.StringIO()
    with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", out):
        try:
            print_it()
        except SystemExit as left:
            out.write(f"exit {left.code}\n")
    text = out.getvalue()
    raw = sorted({c for c in text if not c.isprintable() and c != "\n"})
    if raw:
        return f"RAW {[hex(ord(c)) for c in raw]}: {text}"
    return f"{len(text.splitlines())} lines: {text}"


def _options() -> Any:
    return entry("stream_scorer.cli.options", "ClusterJsonOptions")()


def _reading() -> dict[str, Any]:
    return {"follow_": False, "limit": 20, "start": "latest", "options": _options()}


def _connected(settings: Any) -> Any:
    """Return a patch that has commands find these settings."""
    options = entry("stream_scorer.cli.options")
    return mock.patch.object(options, "connected_settings", return_value=settings)


def _tail(what: str, *messages: _Message, decoded: dict[str, Any] | None = None) -> str:
    """Run ``tail`` over a topic's records."""
    tail = entry("stream_scorer.cli.tail")
    settings = entry("stream_scorer.settings", "Settings")()
    record = SimpleNamespace(decode=lambda _: decoded)
    with (
        _connected(settings),
        mock.patch.object(tail, "_messages", return_value=messages),
        mock.patch.object(tail, "RecordReader", return_value=record),
    ):
        return _printed(lambda: tail.tail(what=what, **_reading()))


def _decision(timestamp: int = 5_000, **changed: Any) -> Callable[[Place], str]:
    return lambda _: _tail("decisions", _Message(timestamp=timestamp), decoded=_DECISION | changed)


def _letter(**changed: bytes) -> Callable[[Place], str]:
    return lambda _: _tail("dlq", _Message(headers=letter(**changed)))


def _listed(**changed: bytes) -> Callable[[Place], str]:
    """Run ``dlq list`` over a dead letter with some headers changed."""

    def run(_: Place) -> str:
        dlq, reading = entry("stream_scorer.cli.dlq"), entry("stream_scorer.dead_letters.list")
        settings = entry("stream_scorer.settings", "Settings")()
        messages = [_Message(headers=letter(**changed))]
        if not hasattr(reading, "read_all"):
            raise NotThereError("dead_letters.read_all")
        with (
            _connected(settings),
            mock.patch.object(reading, "read_all", return_value=iter(messages)),
        ):
            return _printed(lambda: dlq.list_(reason=None, limit=20, options=_options()))

    return run


def _shown(message: Callable[[], _Message]) -> Callable[[Place], str]:
    """Run ``dlq show`` of one dead letter."""

    def run(_: Place) -> str:
        dlq = entry("stream_scorer.cli.dlq")
        found = entry("stream_scorer.dead_letters.format", "parse")(message())
        settings = entry("stream_scorer.settings", "Settings")()
        with (
            _connected(settings),
            mock.patch.object(dlq, "dead_letter_at", return_value=found),
        ):
            return _printed(lambda: dlq.show_(**_AT, options=_options()))

    return run


def _error(text: str) -> Callable[[Place], str]:
    def run(_: Place) -> str:
        error = entry("stream_scorer.errors", "SettingsError")(text)
        return _printed(lambda: entry("stream_scorer.cli.main", "_leave")(error))

    return run


def _table(text: str) -> Callable[[Place], str]:
    return lambda _: _printed(
        lambda: entry("stream_scorer.cli.output", "print_table")(("a",), [(text,)], text)
    )


def _undecodable(_: Place) -> str:
    """Run ``tail decisions`` over a record whose schema has a hostile name."""
    tail = entry("stream_scorer.cli.tail")
    settings = entry("stream_scorer.settings", "Settings")()
    stranger = f'{{"type":"record","name":"{CLIPBOARD}","fields":[]}}'.encode("unicode_escape")
    reader = entry("stream_scorer.codec.records.record_reader")
    with (
        _connected(settings),
        mock.patch.object(tail, "_messages", return_value=[_Message(framed(b""))]),
        mock.patch.object(reader, "open_registry", return_value=Source(stranger.decode())),
    ):
        return _printed(lambda: tail.tail(what="decisions", **_reading()))


_ONE: Final = "1 lines: "
CASES: Final = cases(
    "terminal", 14,
    ("a transaction id that sets the clipboard", "escaped", rf"{_ONE}.*\\x1b\]52",
     _decision(transaction_id=CLIPBOARD)),
    ("a customer id that forges a second decision", "one-line", _ONE,
     _decision(customer_id="c\n00:00:00.000  APPROVE  forged")),
    ("a carriage return that overwrites the line", "escaped", rf"{_ONE}.*\\r",
     _decision(transaction_id="BLOCK\rAPPROVE")),
    ("a name that is read backwards", "escaped", rf"{_ONE}.*\\u202e",
     _decision(customer_id="\u202egnp.exe")),
    ("C1 controls", "escaped", rf"{_ONE}.*\\x9b", _decision(customer_id="\x9b31m")),
    ("a time that no calendar has", "times", _ONE, _decision(timestamp=1 << 62)),
    ("a decision without its fields", "shape", rf"{_ONE}0:3",
     lambda _: _tail("decisions", _Message(), decoded={"x": 1})),
    ("a score that is a text", "shape", rf"{_ONE}0:3", _decision(score="%s%s%n")),
    ("a schema whose name sets the clipboard", "escaped", rf"{_ONE}0:3", _undecodable),
    ("a dead letter whose reason is markup", "markup", r"\d+ lines: .*\(?foreign",
     _listed(dlq_reason=b"[/x]")),
    ("a dead letter whose detail is markup", "markup", r"\d+ lines: .*\[/x\]",
     _listed(dlq_detail=b"[/x]")),
    ("a dead letter whose detail clears the screen", "escaped", rf"{_ONE}.*\\x1b\[2J",
     _letter(dlq_detail=b"\x1b[2J\x1b[H")),
    ("a dead letter whose source topic forges a line", "one-line", _ONE,
     _letter(dlq_source_topic=b"t\nAPPROVE")),
    ("a dead letter with headers in Latin-1", "foreign", _ONE, _letter(dlq_detail=b"\xe9")),
    ("a dead letter from offset 9 followed by 5,000 digits", "foreign", _ONE,
     _letter(dlq_source_offset=b"9" * 5_000)),
    ("a dead letter from offset -5", "foreign", _ONE, _letter(dlq_source_offset=b"-5"),
     "is not a partition, offset or time"),
    ("a dead letter whose reason is no code", "foreign", _ONE, _letter(dlq_reason=b"all is well"),
     "is not a reason code"),
    ("a dead letter whose headers have other names", "foreign", _ONE,
     lambda _: _tail("dlq", _Message(headers=[(f"x{n}", v) for n, v in letter()])),
     "headers do not end with"),
    ("a header of a dead letter that sets the clipboard", "escaped", r"\d+ lines: ",
     _shown(lambda: _Message(b"\1", [(CLIPBOARD, CLIPBOARD.encode()), *letter()]))),
    ("an error that quotes an escape sequence", "error", r"2 lines: .*\\x1b",
     _error(f"topic {CLIPBOARD}\nstream-scorer: all is well")),
    ("a table cell with a link", "markup", r"\d+ lines: .*\[link=file",
     _table("[link=file:///x]y[/link]")),
    ("a table cell with an unopened tag", "markup", r"\d+ lines: .*\[/red\]", _table("[/red]")),
)  # fmt: skip
