"""The common parts of the bench scripts: options, gates, tables, and the report's last line."""

import json
import sys
from typing import Any

import pytest

from bench.harness.script import Number, Script, cell, missed, table


def script(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Script:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return Script(
        "Measure.\n\nMore.", "fewer",
        events=Number(900, 30, "records"), budget=Number(None, None, "bytes"), rates=Number(9, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (900, None, 9)),
        (("--quick",), (30, None, 1)),
        (("--quick", "--events", "7", "--budget", "0.5"), (7, 0.5, 1)),
        (("--events", "0"), (0, None, 9)),
    ],
)
def test_numbers_are_full_or_quick_or_given(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], expected: tuple[Any, ...]
) -> None:
    options = script(monkeypatch, *arguments).options
    assert (options.events, options.budget, options.rates) == expected


def test_a_number_without_help_is_not_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        script(monkeypatch, "--rates", "3")


def test_the_report_is_last_and_failed_gates_set_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = script(monkeypatch)
    shown = table("Title", "name", "count", rows=[("[/x]", 1_234)])
    assert made.conclude({"a": 1}, [], shown, "a line") == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("Title", "[/x]", "1,234", "a line", "load average"))
    assert json.loads(out.splitlines()[-1]) == {"a": 1, "missed": []}
    assert made.conclude({"a": 1}, ["too slow"]) == 1
    found = capsys.readouterr()
    assert json.loads(found.out.splitlines()[-1]) == {"a": 1, "missed": ["too slow"]}
    assert found.err == "too slow\n"


@pytest.mark.parametrize(
    ("value", "comparison", "passes"),
    [
        (2.0, "<=", True), (2.1, "<=", False), (2.0, ">=", True), (1.9, ">=", False),
        (2, "==", True), (3, "==", False), (None, "<=", False), (None, ">=", False),
        (float("nan"), "<=", False), (float("nan"), ">=", False),
    ],
)  # fmt: skip
def test_a_gate_passes_at_its_limit_but_not_past_it_or_empty(
    value: float | None,
    comparison: str,
    passes: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    assert (missed(("{} s", value, comparison, 2)) == []) is passes


def test_a_failed_gate_names_its_value_and_its_limit() -> None:
    lines = missed(("{:,} rows/s", 1_999, ">=", 200_000), ("{} lost", 1, "==", 0))
    assert lines == ["1,999 rows/s, must be at least 200,000", "1 lost, must be 0"]


def test_cells_are_rounded() -> None:
    assert [cell(value) for value in (1 / 3, 2.0, None)] == ["0.333", "2", "-"]
