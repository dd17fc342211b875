"""``lag --watch``: what needs a person is first, at any width, without colours."""

import io

import pytest
from rich.console import Console

from stream_scorer.cli.lag_drawing import LagView, duration, sparkline
from stream_scorer.lag.verdicts.sample import LagJudgement, LagVerdict
from stream_scorer.lag.watch.passes import LagSnapshot

_MANY = 200


def drawn(snapshots: list[LagSnapshot], width: int = 140, height: int = 20) -> str:
    view = LagView()
    for snapshot in snapshots:
        view.show(snapshot)
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(view)
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
    assert "and 193 more, at worst OK" in text


def test_names_from_the_cluster_cannot_move_the_cursor() -> None:
    text = drawn([snapshot(**{"evil\x1b[2J": LagVerdict.OK})])
    assert "\x1b" not in text
    assert "evil\\x1b[2J" in text


def test_an_outage_and_the_first_pass_are_shown() -> None:
    assert "the first pass has not ended yet" in drawn([])
    assert "broker b:1" in drawn([LagSnapshot(1_000.0, error="broker b:1: timed out")])


def test_lag_so_far_is_a_line_of_bars() -> None:
    assert sparkline([0, 1, 8]) == "▁▂█"
    assert sparkline([]) == ""
    assert duration(90.0) == "1 m 30 s"
