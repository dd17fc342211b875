"""Text from a topic is only data: a terminal shows it, and never executes control sequences."""

import io
import os
import subprocess
import sys
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from stream_scorer.cli import output, tail
from stream_scorer.cli.main import _leave
from stream_scorer.cli.rollout_drawing import draw
from stream_scorer.dead_letters.format import NAMES, parse
from stream_scorer.errors import SettingsError
from stream_scorer.terminal_text import printable, write_error

CLIPBOARD = "\x1b]52;c;c3Rvb2w=\x07"
HOSTILE = [
    CLIPBOARD,
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\x7f",
    "safe\rforged",
    "line\nforged line",
    "\u202egnp.exe",
    "\u2028",
    "\ud800",
    "\x00",
]
MARKUP = [
    "[/x]",
    "[bold red]",
    "[link=file:///etc/passwd]here[/link]",
    ":warning:",
    "[@click=app.bell]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_printable_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert "\\" in shown


@pytest.mark.parametrize("text", ["Zahlung über 12,50 €", "カード", "a b", "[/x]", "\\x1b"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def _shown(capsys: pytest.CaptureFixture[str], cell: str) -> str:
    output.print_table(("reason",), [(cell,)], title=cell)
    return capsys.readouterr().out


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP])
def test_a_table_shows_its_cells_and_obeys_none(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = _shown(capsys, text)
    assert out.replace("\n", "").isprintable()
    assert text in out or printable(text) in out


def test_a_line_break_in_a_cell_starts_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_shown(capsys, "a\nb").splitlines()) == len(_shown(capsys, "ab").splitlines())


def test_text_that_is_not_escaped_yet_is_escaped_by_the_console(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("name")
    table.add_row(Text(CLIPBOARD))
    output.TerminalConsole().print(table, CLIPBOARD, Text(CLIPBOARD))
    assert "\x1b" not in capsys.readouterr().out


def _decision(**changed: Any) -> dict[str, Any]:
    return {
        "timestamp": 1_522_540_800_000, "decision": "BLOCK", "score": 0.9, "transaction_id": "t",
        "customer_id": "c", "reasons": ["AMOUNT"], "flags": [], "model": "fraud",
        "model_version": "1.0.0", "source_partition": 0, "source_offset": 7, "partition": 0,
        "offset": 3,
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"transaction_id": CLIPBOARD},
        {"customer_id": "c\n00:00:00.000  APPROVE  forged"},
        {"reasons": ["[/x]", CLIPBOARD]},
        {"timestamp": 1 << 62},
        {"timestamp": -(1 << 62)},
        {"score": "not a number"},
        {"reasons": None},
        {"explanations": [{"feature": CLIPBOARD, "value": 1.0, "text": ""}]},
        {"explanations": [{"feature": "f", "value": 1.0, "text": "a\nb [/x] " + CLIPBOARD}]},
        {"explanations": [{"feature": "f", "value": "%s", "text": ""}]},
        {"explanations": [3]},
        {"transaction_id": 3},
    ],
)
def test_a_decision_takes_one_line_whatever_it_holds(
    changed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    line = tail._written("decisions", _decision(**changed))
    output.TerminalConsole(soft_wrap=True).print(line)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out[:-1].isprintable()
    assert "0:7" in out or "0:3" in out


_LONG = {
    "transaction_id": "4b0f7a2e-8c1d-4b6f-9a57-3f0c5f0d9f6e",
    "explanations": [
        {"feature": "COUNT_1H", "value": 5.0, "text": "5 payments in the last hour"},
        {"feature": "TX_AMOUNT", "value": 812.5, "text": ""},
        {"feature": "漢字" * 20, "value": float("nan"), "text": ""},
    ],
    "reasons": ["COUNT_1H", "TX_AMOUNT", "漢字" * 20],
    "flags": ["late"],
}


def test_a_decision_fits_80_columns_and_shows_its_reasons() -> None:
    line = tail._written("decisions", _decision(**_LONG), 80)
    assert line.cell_len <= 80
    assert "4b0f7a2e-8c1d-4…  late  5 payments in the la" in line.plain
    assert line.plain.endswith("…")


@pytest.mark.parametrize("room", [None, 400])
def test_with_room_a_decision_is_shown_in_full(room: int | None) -> None:
    plain = tail._written("decisions", _decision(**_LONG), room).plain
    told = f"5 payments in the last hour, TX_AMOUNT 812.5, {'漢字' * 20} unknown"
    assert f"late  {told}  customer c  fraud:1.0.0  0:7" in plain
    assert ("4b0f7a2e-8c1d-4b6f-9a57-3f0c5f0d9f6e" in plain) == (room is None)


def test_a_decision_of_the_first_version_shows_its_reason_codes() -> None:
    record = _decision(reasons=["A", "MODEL_ERROR"])
    for each in (record, record | {"explanations": []}):
        line = tail._written("decisions", each, 80)
        assert line.plain.endswith("t                 A, MODEL_ERROR  customer c")


def test_a_drift_event_with_an_invalid_time_is_named_by_offset() -> None:
    event = {
        "timestamp": 0, "signal": "s", "detector": "d", "reference": 0.1, "estimate": 0.2,
        "window_start": "%s", "window_end": 3, "model": "m", "model_version": "v", "partition": 1,
        "offset": 5,
    }  # fmt: skip
    assert "1:5" in tail._written("drift", event).plain


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        _leave(SettingsError(f"topic {CLIPBOARD}\nstream-scorer: all is well"))
    err = capsys.readouterr().err
    assert left.value.code == SettingsError.exit_code
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_an_error_can_be_written_where_stderr_knows_ascii_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stderr", written)
    write_error("Schlüssel — 鍵")
    written.seek(0)
    assert written.read() == "stream-scorer: Schl\\xfcssel \\u2014 \\u9375\n"


class _Message:
    def __init__(self, headers: list[tuple[str, bytes]]) -> None:
        self._headers = headers

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def __getattr__(self, name: str) -> Any:
        return lambda: (1, 0) if name == "timestamp" else 0


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("dlq.reason", b"[/x]"),
        ("dlq.reason", CLIPBOARD.encode()),
        ("dlq.reason", b"A" * 41),
        ("dlq.source.offset", b"-1"),
        ("dlq.source.partition", str(1 << 63).encode()),
        ("dlq.source.timestamp", b"9" * 5_000),
        ("dlq.detail", b"\xff"),
    ],
)
def test_headers_that_only_look_like_ours_make_no_dead_letter(changed: str, value: bytes) -> None:
    good = dict(zip(NAMES, (b"MALFORMED", b"d", b"t", b"0", b"1", b"2", b"i"), strict=True))
    assert parse(_Message(list(good.items()))).reason == "MALFORMED"
    with pytest.raises(ValueError):  # noqa: PT011 each text is different
        parse(_Message(list((good | {changed: value}).items())))


def test_a_status_shows_reasons_of_the_control_log_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = f"[/x]{CLIPBOARD}"
    document = {
        "phase": "running", "name": hostile, "paused": False, "strategy": "canary", "revision": 2,
        "since": "now", "effective_at": hostile, "ramp": [], "stage": 0,
        "arms": [{"arm": hostile, "version": hostile, "role": hostile, "share": 0.5}],
        "partitions": [
            {"partition": 0, "revision": 1, "offset": 2, "since": "now", "current": False,
             "not_loadable": {hostile: hostile},
             "refused": [{"revision": 2, "reason": hostile}]}
        ],
        "verdicts": {hostile: {"verdict": hostile, "at": "now", "reasons": [hostile],
                               "numbers": {hostile: 1.0}}},
        "pending": {"kind": "step", "what": hostile, "reason": hostile, "proposal": hostile},
    }  # fmt: skip
    draw(document)
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert "[/x]" in out


def test_an_encoding_without_a_sign_ends_no_command() -> None:
    program = "from stream_scorer.cli.output import TerminalConsole; TerminalConsole().print('◼ a')"
    ran = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", program], env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "? a\n"), ran.stderr
