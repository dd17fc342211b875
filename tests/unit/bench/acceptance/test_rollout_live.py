"""The counts of the live rollout bench, with decisions that have one fault each."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.acceptance import reproduce
from bench.verdicts.rollout_live import (
    Begun,
    Decisions,
    Stage,
    activation_seconds,
    after_rollback,
    counted,
    failures,
    flips,
    least_rate,
    misrouted,
    shares,
)

OLD, NEW = "old:1", "new:1"
STAGES = [
    Stage("champion", 1, None, {"champion": OLD}),
    Stage("canary", 2, 0.5, {"champion": OLD, "canary": NEW}),
    Stage("rollback", 3, None, {"champion": OLD}),
]
BEGUN = [Begun(p, 10 * (r - 1), r, 1_000 * r + 100 * (p + 1)) for p in (0, 1) for r in (1, 2, 3)]
ENDS = {0: 30, 1: 30}


def decisions() -> Decisions:
    """Return decisions of two partitions: ten per revision, customers 0 to 9, half the canary's."""
    partition, offset = (each.ravel() for each in np.meshgrid([0, 1], range(30), indexing="ij"))
    revision = offset // 10 + 1
    number = offset % 10
    canary = (revision == 2) & (number < 5)
    return Decisions(
        partition.astype(np.int32), offset,
        np.array([f"{p}-{n}" for p, n in zip(partition, number, strict=True)]),
        np.where(canary, "canary", "champion"), np.where(canary, NEW, OLD), revision,
    )  # fmt: skip


def changed(row: int, **values: Any) -> Decisions:
    whole = decisions()
    columns = {name: getattr(whole, name).copy() for name in values}
    for name, value in values.items():
        columns[name][row] = value
    return replace(whole, **columns)


def test_only_a_slow_input_lowers_the_required_rate() -> None:
    assert [least_rate(rate) for rate in (24_000, 20_001, 6_000)] == [20_000, 20_000, 4_800]


def test_a_good_rollout_has_nothing_to_count() -> None:
    found = decisions()
    assert counted(ENDS, found) == {"lost": 0, "duplicates": 0}
    assert misrouted(found, BEGUN, STAGES) == {"of_another_revision": 0, "of_another_version": 0}
    assert (flips(found, [2]), after_rollback(found, BEGUN, 3)) == (0, 0)
    (row,) = shares(found, STAGES)
    assert (row["customers"], row["canary"], row["inside"]) == (20, 10, True)
    assert [activation_seconds(BEGUN, r, 1_000 * r, [0, 1]) for r in (1, 2, 3)] == [0.2, 0.2, 0.2]


def test_each_fault_is_counted() -> None:
    assert counted(ENDS, changed(5, offset=6)) == {"lost": 1, "duplicates": 1}
    assert misrouted(changed(15, revision=1), BEGUN, STAGES)["of_another_revision"] == 1
    assert misrouted(changed(25, version=NEW), BEGUN, STAGES)["of_another_version"] == 1
    # The canary's version may decide, but not for the champion's customers.
    assert misrouted(changed(16, version=NEW), BEGUN, STAGES)["of_another_version"] == 1
    assert misrouted(changed(25, arm="canary"), BEGUN, STAGES)["of_another_version"] == 1
    assert after_rollback(changed(25, arm="canary"), BEGUN, 3) == 1
    assert after_rollback(changed(19, arm="canary"), BEGUN, 3) == 0
    # Customer 0-9 is in the canary at offset 12, and no longer at 19.
    assert flips(changed(12, customer="0-9"), [2]) == 1
    assert flips(changed(12, customer="0-9"), [1]) == 0
    late = [each for each in BEGUN if (each.partition, each.revision) != (1, 3)]
    assert activation_seconds(late, 3, 3_000, [0, 1]) is None


def test_a_share_that_chance_does_not_explain_is_outside() -> None:
    found = decisions()
    few = replace(found, arm=np.where(found.customer == "0-0", found.arm, "champion"))
    (row,) = shares(few, STAGES)
    assert (row["canary"], row["inside"]) == (1, False)


GOOD: dict[str, Any] = {
    "lost": 0, "duplicates": 0, "of_another_revision": 0, "of_another_version": 0, "flips": 0,
    "canary_after_rollback": 0, "shadow_mismatches": 0, "events_per_second": 20_000,
    "least_rate": 20_000, "shadow_ratio": 0.6,
    "shares": [
        {"stage": "5 %", "canary": 5, "customers": 100, "low": 1, "high": 9, "inside": True}
    ],
    "activations": [{"stage": "rollback", "seconds": 2.0}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lost": 1}, "1 input records are not decided, must be 0"),
        ({"duplicates": 1}, "1 decisions are of a record that has one, must be 0"),
        ({"of_another_revision": 2}, "2 decisions are of another revision"),
        ({"of_another_version": 2}, "2 decisions are of another version"),
        ({"flips": 3}, "3 customers left the canary"),
        ({"canary_after_rollback": 1}, "1 decisions are the canary's after the rollback"),
        ({"shadow_mismatches": 1}, "1 decisions of the shadow's stage"),
        ({"events_per_second": 19_999}, "19,999 events/s were decided, must be at least 20,000"),
        ({"shadow_ratio": 0.59}, "with a shadow 0.59 of the throughput"),
        (
            {"shares": [GOOD["shares"][0] | {"inside": False}]},
            "5 of 100 customers, expected 1 to 9",
        ),
        ({"activations": [{"stage": "a", "seconds": 2.1}]}, "a: began 2.1 s after its command"),
        ({"activations": [{"stage": "a", "seconds": None}]}, "a: began None s after its command"),
    ],
)
def test_each_gate_names_what_it_misses(change: dict[str, Any], said: str) -> None:
    assert failures(GOOD) == []
    (line,) = failures(GOOD | change)
    assert said in line


def reproduced(**changes: Any) -> dict[str, Any]:
    depth = {
        "chosen": 100, "equal": 100, "missing": 0, "unexpected": 0, "not_compared": 0,
        "models": {"old:1.0.0": 1, "new:1.0.0": 1},
    }  # fmt: skip
    planted = {
        "score": {"fields": {"score": 1}, "expected": {"score": 1}},
        "threshold": {"fields": {"decision": 4}, "expected": "decision"},
    }
    return {"recorded": depth, "input": depth | changes, "planted": planted}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"equal": 99}, "input: 99 are equal, must be 100"),
        ({"equal": 90, "chosen": 90}, "input: 90 were compared, must be at least 100"),
        ({"missing": 1}, "input: 1 missing"),
        ({"models": {"old:1.0.0": 1}}, "input: decided by old:1.0.0"),
    ],
)
def test_the_bench_of_past_decisions_names_what_it_misses(
    changes: dict[str, Any], said: str
) -> None:
    assert reproduce.failures(reproduced(), 100) == []
    assert said in " ".join(reproduce.failures(reproduced(**changes), 100))


def test_what_was_planted_and_not_found_is_missed() -> None:
    document = reproduced()
    document["planted"]["score"]["fields"] = {"score": 2}
    document["planted"]["threshold"]["fields"] = {}
    assert len(reproduce.failures(document, 100)) == 2
