"""The gates of the bench of the controller under load."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.rollout_steps.arena import Said
from bench.rollout_steps.guarded import failures, moved
from bench.verdicts.rollout_live import Begun, Decisions
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.plan.command_kinds import CommandKind, VerdictGiven

BEGUN = [Begun(p, 10 * r, r, 1_000 * r + 100 * p) for p in range(4) for r in (2, 5)]
SAID = [
    Said(CommandKind.PLAN, 2, 2_000, None),
    Said(CommandKind.VERDICT, 3, 4_000, VerdictGiven(guard="fast", verdict=Verdict.CONTINUE)),
    Said(
        CommandKind.VERDICT, 4, 4_500,
        VerdictGiven(guard="fast", verdict=Verdict.ROLL_BACK, reasons=("alerts",)),
    ),
    Said(CommandKind.ROLLBACK, 5, 4_600, None),
]  # fmt: skip


def decisions() -> Decisions:
    """Return offsets 20 to 79 of partition 0: half are the canary's up to the rollback at 50."""
    offset = np.arange(20, 80)
    n = len(offset)
    return Decisions(
        np.zeros(n, np.int32), offset, np.array([str(at) for at in offset]),
        np.where((offset % 2 == 0) & (offset < 50), "canary", "champion"),
        np.array(["old:1.0.0"] * n), np.where(offset < 50, 2, 5),
    )  # fmt: skip


def test_a_rollback_is_timed_from_verdict_to_activation() -> None:
    found = moved(decisions(), BEGUN, SAID, CommandKind.ROLLBACK)
    assert (found["canary_decisions"], found["canary_after"]) == (15, 0)
    assert found["seconds_to_verdict"] == 2.5
    assert found["verdict_to_activation_seconds"] == 0.8
    assert found["reasons"] == ["alerts"]
    late = decisions()
    late.arm[45] = "canary"
    assert moved(late, BEGUN, SAID, CommandKind.ROLLBACK)["canary_after"] == 1
    # A canary of another rollout does not count.
    late.revision[45] = 7
    assert moved(late, BEGUN, SAID, CommandKind.ROLLBACK)["canary_after"] == 0
    partly = [replace(each, revision=9) if each.partition == 3 else each for each in BEGUN]
    assert moved(late, partly, SAID, CommandKind.ROLLBACK)["verdict_to_activation_seconds"] is None


MOVE = {"canary_after": 0, "verdict_to_activation_seconds": 2.0}
GOOD: dict[str, Any] = {
    "lost": 0, "duplicates": 0, "of_another_revision": 0, "of_another_version": 0,
    "harm": MOVE, "promotion": MOVE, "events_per_second": 20_000, "least_rate": 20_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lost": 1}, "1 input records are not decided"),
        ({"duplicates": 1}, "1 decisions are of a record that has one"),
        ({"of_another_revision": 1}, "1 decisions are of another revision"),
        ({"of_another_version": 1}, "1 decisions are of another version"),
        ({"harm": {**MOVE, "canary_after": 2}}, "harm: 2 decisions are the canary's afterwards"),
        ({"promotion": {**MOVE, "verdict_to_activation_seconds": 2.1}}, "promotion: began 2.1 s"),
        ({"harm": {**MOVE, "verdict_to_activation_seconds": None}}, "harm: began None s"),
        ({"events_per_second": 19_999}, "19,999 events/s were decided"),
    ],
)
def test_each_gate_names_what_it_misses(change: dict[str, Any], said: str) -> None:
    assert failures(GOOD) == []
    (line,) = failures({**GOOD, **change})
    assert line.startswith(said)
