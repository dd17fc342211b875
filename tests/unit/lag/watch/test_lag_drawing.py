"""``lag --watch``: what needs a person is first, at any width, without colours."""

import io
import math
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.screen import Screen

from stream_scorer.cli.lag_drawing import LagView, duration, sparkline
from stream_scorer.lag.verdicts.sample import LagJudgement, LagVerdict
from stream_scorer.lag.watch.passes import LagSnapshot

_MANY = 200


def drawn(
    snapshots: list[LagSnapshot], width: int = 140, height: int = 20, *, full: bool = False
) -> str:
    """Return what is printed; full: on a screen of its own, as in a terminal."""
    view = LagView()
    for snapshot in snapshots:
        view.show(snapshot)
    console = Console(
        file=io.StringIO(), width=width, height=height, color_system=None, markup=False
    )
    console.print(Screen(view) if full else view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def snapshot(**verdicts: LagVerdict) -> LagSnapshot:
    judgements = {
        ("fraud", (topic, 0)): LagJudgement(
            verdict, f"why {topic}", 1_000.0, 40, 30, 12.0, 5.0, 4.0, float("inf"),
            owner="scorer-0 at /10.0.0.7",
        )
        for topic, verdict in verdicts.items()
    }  # fmt: skip
    return LagSnapshot(1_000.0, 1_000.0, 0.02, judgements, {"fraud": 1})


def test_what_needs_a_person_is_first() -> None:
    text = drawn([snapshot(a=LagVerdict.OK, b=LagVerdict.STOPPED, c=LagVerdict.SLOW)])
    lines = text.splitlines()
    assert [line.split()[1] for line in lines[2:5]] == ["b", "c", "a"]
    assert "◼ STOPPED" in lines[2]
    assert "why b" in lines[2]
    assert "scorer-0 at /10.0.0.7" in lines[4]
    assert "fraud STOPPED; pass of 0.02 s" in lines[0]


def test_every_verdict_has_a_sign_of_its_own_word() -> None:
    text = drawn([snapshot(**{f"t{n}": each for n, each in enumerate(LagVerdict)})], height=30)
    assert all(verdict in text for verdict in LagVerdict)


@pytest.mark.parametrize("width", [60, 80, 109, 110, 200])
def test_it_fits_any_width(width: int) -> None:
    text = drawn([snapshot(transactions=LagVerdict.HANGING, labels=LagVerdict.OK)], width)
    assert max(map(len, text.splitlines())) <= width
    assert "12 s" in text
    assert ("in/s" in text) == (width >= 110)


def test_a_low_terminal_says_what_it_leaves_out() -> None:
    many = snapshot(**{f"t{number:03}": LagVerdict.OK for number in range(_MANY)})
    text = drawn([many], height=12)
    assert len(text.splitlines()) <= 12
    assert "and 192 more, at worst OK" in text


@pytest.mark.parametrize(("width", "height"), [(60, 30), (80, 24), (120, 24), (160, 24)])
def test_the_worst_reasons_are_shown_as_a_whole(width: int, height: int) -> None:
    who = "transactional id payments-3, producer 4711"
    reason = f"a transaction has been open for 40 s or longer at offset 100; {who}"
    bad = LagJudgement(LagVerdict.HANGING, reason, 1_000.0, 2_061, 0, drain_seconds=math.inf)
    fine = LagJudgement(LagVerdict.OK, "nothing to read", 1_000.0, 0, 0)
    judgements = {("g", ("t", n)): bad if n == 7 else fine for n in range(9)}
    text = drawn([LagSnapshot(1_000.0, 1_000.0, 0.02, judgements, {"g": 1})], width, height)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert " ".join(text.split()).endswith(f"g, t 7: {reason}")
    assert "nothing to read" not in text
    # All of them wait, although none can be read.
    assert "2,061" in text


def test_each_group_shows_one_reason_below_the_table() -> None:
    hanging = LagJudgement(LagVerdict.HANGING, "a transaction is open", 1_000.0, 900, 0)
    stopped = LagJudgement(LagVerdict.STOPPED, "no members", 1_000.0, 77, 77)
    judgements = {("fraud", ("t", n)): hanging for n in range(3)} | {("audit", ("t", 0)): stopped}
    before = {at: replace(each, to_high=100) for at, each in judgements.items()}
    text = drawn([LagSnapshot(1_000.0, judgements=each) for each in (before, judgements)], 120)
    reasons = text.splitlines()[-2:]
    assert reasons == ["fraud, t 0: a transaction is open", "audit, t 0: no members"]
    # None can be read, and more and more wait.
    assert "▂█" in text


def test_a_low_terminal_shows_rows_before_reasons() -> None:
    text = drawn([snapshot(a=LagVerdict.STALLED, b=LagVerdict.OK)], width=80, height=5)
    assert len(text.splitlines()) <= 5
    assert "why a" in text
    long = LagJudgement(LagVerdict.STOPPED, "why " * 200, 1_000.0, 3, 3)
    now = LagSnapshot(1_000.0, 1_000.0, 0.02, {("g", ("t", 0)): long}, {"g": 1})
    text = drawn([now], width=80, height=8)
    assert "STOPPED" in text
    assert "why" not in text


@pytest.mark.parametrize("verdict", [LagVerdict.OK, LagVerdict.STALLED, LagVerdict.HANGING])
def test_names_from_the_cluster_cannot_move_the_cursor(verdict: LagVerdict) -> None:
    evil = "evil\x1b[2J\r\n\u202e[red]"
    judgement = LagJudgement(verdict, f"why {evil}", 1_000.0, 4, 3, owner=f"{evil} at h")
    members = {evil: 1, f"{evil} absent": 0}
    now = LagSnapshot(1_000.0, 0, 0.02, {(evil, (evil, 0)): judgement}, members, error=evil)
    text = drawn([now], width=200)
    assert all(line.isprintable() for line in text.splitlines())
    bad = verdict is not LagVerdict.OK
    assert len(text.splitlines()) == 5 + bad
    escaped = "evil\\x1b[2J\\r\\n\\u202e[red]"
    assert text.count(escaped) == 7 + 3 * bad


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("name", ["evil" * 8_000, "邪" * 10_000, "x " * 5_000, "a\nb" * 2_000])
def test_a_long_name_does_not_hide_the_others(name: str, width: int) -> None:
    bad = LagJudgement(LagVerdict.STOPPED, "why", 1_000.0, 40, 30, 12.0, owner=name)
    fine = LagJudgement(LagVerdict.SLOW, "late", 1_000.0, 40, 30, 12.0)
    judgements = {(name, (name, 7)): bad, ("fraud", ("transactions", 3)): fine}
    text = drawn([LagSnapshot(1_000.0, 1_000.0, 0.02, judgements, {name: 1, "fraud": 1})], width)
    lines = text.splitlines()
    assert len(lines) <= 20
    assert max(map(cell_len, lines)) <= width
    assert "SLOW" in "".join(lines[1:])
    assert text.count("\n") == len(lines)


@pytest.mark.parametrize("full", [False, True])
def test_a_row_of_several_lines_counts_as_such(*, full: bool) -> None:
    # Sixty columns are too few for the names: they are wrapped.
    topics = {f"transactions-of-region-{n:02}": LagVerdict.HANGING for n in range(40)}
    text = drawn([snapshot(**topics)], width=60, height=24, full=full)
    shown = len(re.findall("◼ HANGING", text))
    assert len(text.splitlines()) <= 24
    assert 3 <= shown < 20
    assert f"and {40 - shown} more, at worst HANGING TRANSACTION" in text


def test_the_begin_and_the_end_of_a_long_name_are_shown() -> None:
    topic = "payments." + "x" * 200 + ".region-07"
    text = drawn([snapshot(**{topic: LagVerdict.OK})], width=80)
    shown = "".join(line[9:26].strip() for line in text.splitlines()[2:])
    assert "payments." in shown
    assert "region-07 0" in shown
    assert "…" in shown


def test_in_eighty_columns_every_number_of_a_short_name_is_shown() -> None:
    text = drawn([snapshot(transactions=LagVerdict.STALLED)] * 30, width=80)
    assert "transactions 0" in text
    heading, row = text.splitlines()[1:3]
    assert heading.split("  ")[-1].strip() == "lag so far"
    assert row.rstrip().endswith("█" * 10)
    assert "never" in row


def test_many_groups_have_one_line_of_title() -> None:
    members = {f"group-{number:03}": 1 for number in range(150)}
    judgements = {
        (group, ("t", 0)): LagJudgement(LagVerdict.OK, "", 1_000.0, 0, 0) for group in members
    }
    text = drawn([LagSnapshot(1_000.0, 1_000.0, 0.02, judgements, members)], height=12)
    assert "group-003 OK and 146 more groups; pass of 0.02 s" in text.splitlines()[0]
    assert len(text.splitlines()) <= 12


def test_what_no_row_shows_is_named() -> None:
    now = LagSnapshot(1_000.0, 1_000.0, 0.02, {}, {"misspelt": 0}, left_out=1_234)
    lines = drawn([now]).splitlines()
    assert lines[0] == "misspelt UNKNOWN; pass of 0.02 s"
    assert lines[1] == "no committed offset, and no partition: misspelt"
    assert lines[2] == "1,234 more groups match: see lag.groups_max"


def test_an_outage_and_the_first_pass_are_shown() -> None:
    assert "the first pass has not ended yet" in drawn([])
    down = drawn([LagSnapshot(1_000.0, error="broker b:1: timed out")])
    assert "broker b:1: timed out" in down
    assert "the brokers do not answer" in down
    assert "no group matches" in drawn([LagSnapshot(1_000.0)])


def test_lag_so_far_is_a_line_of_bars() -> None:
    assert sparkline([0, 1, 8]) == "▁▂█"
    assert sparkline([]) == ""
    assert duration(90.0) == "1 m 30 s"
