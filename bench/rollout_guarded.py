"""The controller under load: a version that does harm is rolled back, a sound one is promoted.

One scorer and one controller follow a control log while a steady input comes of 50,000 customers,
labels half a day of event time behind it. First a version that alerts far more often decides for a
quarter of the customers; the controller sees it in the decisions and rolls it back. Then one that
decides as the champion does goes from shadow to 5, 25 and 50 %, and is promoted for what the labels
say. No person steps in. Everything is read off the broker:

- ``lost``, ``duplicates``, ``of_another_revision``, ``of_another_version``: as in ``rollout_live``.
- ``harm``: decisions of the harmful canary until it was rolled back, seconds from the verdict's
  arrival at the broker to the last partition's activation, and canary decisions behind those.
- ``promotion``: the same of the promotion, with the matured frauds that it rests on.
- ``moves``: what the controller wrote, in order.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import traffic
from bench.harness.arena import PARTITIONS, Arena, Contender
from bench.harness.event_model import train_model
from bench.harness.gates import conclude, loads
from bench.rollout_steps.arena import Followed, Said, begun_in, decisions_of, said_in, say
from bench.verdicts.rollout_live import (
    MOST_ACTIVATION_SECONDS,
    Begun,
    Decisions,
    Stage,
    activation_seconds,
    after_rollback,
    counted,
    least_rate,
    misrouted,
    too_slow,
    wrong,
)
from stream_scorer.core.decision.routing import CANARY, CHAMPION, CONTROL
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.models.bundles.bundle import DecisionThresholds
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.training.features import CUSTOMER_FEATURES

OLD, LOUD, SOUND = "old:1.0.0", "loud:1.0.0", "sound:1.0.0"
RATE, QUICK_RATE = 24_000, 6_000
_SOURCE = "guarded.transactions"
_CUSTOMERS = 50_000
_LABEL_HOURS = 12
_DAY_SECONDS = 86_400
_GUARD = {
    "maturity_seconds": _DAY_SECONDS, "least_frauds": 100, "delta": 0.3,
    "slow_call_us": 1e6, "deadline_seconds": 4_000 * _DAY_SECONDS,
}  # fmt: skip
_RAMP = (0, 5, 25, 50)
_STAGE_SECONDS = _DAY_SECONDS
_VERDICT_SECONDS = 120.0
_INPUT_SECONDS = 150.0
_SETTLED_SECONDS = 3.0
_GLANCE_SECONDS = 0.1
_ALONE = {CHAMPION: OLD}
_HARM = {CHAMPION: OLD, CONTROL: OLD, CANARY: LOUD}
_SOUND = {CHAMPION: OLD, CONTROL: OLD, CANARY: SOUND}
_MOVES = (CommandKind.PLAN, CommandKind.STEP, CommandKind.ROLLBACK, CommandKind.PROMOTE)
_WANTED = {CommandKind.ROLLBACK: Verdict.ROLL_BACK, CommandKind.PROMOTE: Verdict.PROMOTE}


def _stages(told: Sequence[Said]) -> list[Stage]:
    """Return every revision, and which version each arm has in it."""
    found: list[Stage] = []
    plans = 0
    for said in told:
        if said.kind not in _MOVES:
            continue
        plans += said.kind is CommandKind.PLAN
        if said.kind is CommandKind.PROMOTE:
            arms = {CHAMPION: SOUND}
        elif plans == 1 or said.kind is CommandKind.ROLLBACK:
            arms = _ALONE
        else:
            arms = _HARM if plans == 2 else _SOUND
        found.append(Stage(said.kind.value, said.sequence, None, arms))
    return found


def _until(followed: Followed, controller: Contender, kind: CommandKind) -> None:
    """Wait until a command of a kind is in the log that only the controller gives."""
    deadline = time.monotonic() + _VERDICT_SECONDS
    while True:
        state = followed.log.refresh()
        entries = followed.log.log.entries
        if any(e.accepted and e.command and e.command.kind == kind for e in entries):
            return
        for process in (controller, followed.contender):
            process.refuse_death()
        if time.monotonic() > deadline:
            told = {guard: str(v.verdict) for guard, v in state.verdicts.items()}
            raise SystemExit(f"no {kind.value} within {_VERDICT_SECONDS:.0f} s: {told}")
        time.sleep(_GLANCE_SECONDS)


def measure(per_second: int) -> dict[str, Any]:
    """Run both rollouts; return the report."""
    with Arena() as arena:
        table = traffic.transactions(60_000)
        store = arena.directory / "models"
        usual = train_model(table, store, "old", CUSTOMER_FEATURES)
        loud = DecisionThresholds(review=usual.review / 8, block=usual.block)
        train_model(table, store, "loud", CUSTOMER_FEATURES, loud)
        train_model(table, store, "sound", CUSTOMER_FEATURES)
        arena.create({_SOURCE: PARTITIONS})
        followed = Followed(arena, "guarded", _SOURCE)
        arena.create({followed.entry.settings.kafka.topics.labels: PARTITIONS})
        controller = arena.start(
            arena.entry(
                "controller", _SOURCE, "controller", store=store, outputs="guarded",
                controller={
                    "group": "controller", "state": str(arena.directory / "controller.sqlite"),
                    "label_slack_seconds": 0,
                },
            )
        )  # fmt: skip
        count = int(per_second * _INPUT_SECONDS)
        feeder = arena.start(
            arena.entry("input", _SOURCE, "schedule", str(per_second), str(count),
                        str(_LABEL_HOURS), str(_CUSTOMERS), outputs="guarded")
        )  # fmt: skip
        for process in (followed.contender, controller, feeder):
            process.wait_ready()
        followed.plan("champion", None, _ALONE, strategy="champion", versions=_ALONE)
        for process in (followed.contender, controller):
            process.go()
        arena.wait_committed(followed.contender, 0, _VERDICT_SECONDS)
        feeder.go()
        began = time.time_ns() // 1_000_000
        arena.wait_committed(followed.contender, 3 * per_second, _VERDICT_SECONDS)
        followed.plan(
            "harm", None, _HARM, strategy="canary", guard=_GUARD, controller={},
            versions={CHAMPION: OLD, CANARY: LOUD}, ramp=[{"percent": 25}],
        )  # fmt: skip
        _until(followed, controller, CommandKind.ROLLBACK)
        time.sleep(_SETTLED_SECONDS)
        followed.plan(
            "sound", None, _SOUND, strategy="canary", guard=_GUARD, controller={},
            versions={CHAMPION: OLD, CANARY: SOUND},
            ramp=[{"percent": p, "least_seconds": _STAGE_SECONDS} for p in _RAMP],
        )  # fmt: skip
        _until(followed, controller, CommandKind.PROMOTE)
        time.sleep(_SETTLED_SECONDS)
        feeder.kill()
        say("the input has ended")
        _, ends = bounds(followed.entry.settings.kafka, _SOURCE)
        arena.wait_committed(followed.contender, sum(ends.values()), _VERDICT_SECONDS)
        fed = sum(ends.values()) / (time.time_ns() / 1e6 - began) * 1_000
        for process in (controller, followed.contender):
            process.stop()
        return _judged(arena, followed, ends) | {
            "events_per_second": round(fed),
            "least_rate": least_rate(per_second),
        }


def _judged(arena: Arena, followed: Followed, ends: Mapping[int, int]) -> dict[str, Any]:
    found = decisions_of(arena, followed.entry)
    begun = begun_in(arena, followed.entry)
    told = said_in(followed)
    return {
        **counted(ends, found),
        **misrouted(found, begun, _stages(told)),
        "decisions": len(found),
        "harm": moved(found, begun, told, CommandKind.ROLLBACK),
        "promotion": moved(found, begun, told, CommandKind.PROMOTE),
        "moves": [said.kind.value for said in told if said.kind in _MOVES],
    }


def moved(
    found: Decisions, begun: Sequence[Begun], told: Sequence[Said], kind: CommandKind
) -> dict[str, Any]:
    """Return what the rollout that ended with a command of this kind came to."""
    (move,) = (said for said in told if said.kind is kind)
    before = told[: told.index(move)]
    plan = next(said for said in reversed(before) if said.kind is CommandKind.PLAN)
    at_ms, verdict = next(
        (said.at_ms, said.verdict)
        for said in reversed(before)
        if said.verdict is not None and said.verdict.verdict is _WANTED[kind]
    )
    mine = found.where((found.revision >= plan.sequence) & (found.revision <= move.sequence))
    return {
        "canary_decisions": int((mine.arm == CANARY).sum()),
        "seconds_to_verdict": round((at_ms - plan.at_ms) / 1_000, 2),
        "verdict_to_activation_seconds": activation_seconds(
            begun, move.sequence, at_ms, range(PARTITIONS)
        ),
        "canary_after": after_rollback(mine, begun, move.sequence),
        "reasons": list(verdict.reasons),
        "numbers": dict(verdict.numbers),
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    lines = wrong(document)
    for name in ("harm", "promotion"):
        row = document[name]
        if row["canary_after"]:
            lines.append(f"{name}: {row['canary_after']} decisions are the canary's afterwards")
        seconds = row["verdict_to_activation_seconds"]
        if seconds is None or seconds > MOST_ACTIVATION_SECONDS:
            lines.append(
                f"{name}: began {seconds} s after its verdict, at most "
                f"{MOST_ACTIVATION_SECONDS:.0f}"
            )
    return [*lines, *too_slow(document)]


def show(document: Mapping[str, Any], load: tuple[str, str]) -> None:
    """Print the tables."""
    console = Console(width=100)
    table = Table("rollout", "canary decisions", "verdict after s", "in force after s",
                  "afterwards", title="What the controller did", title_justify="left")  # fmt: skip
    for name in ("harm", "promotion"):
        row = document[name]
        table.add_row(
            name, f"{row['canary_decisions']:,}", str(row["seconds_to_verdict"]),
            str(row["verdict_to_activation_seconds"]), str(row["canary_after"]),
        )  # fmt: skip
    console.print(table)
    for name in ("harm", "promotion"):
        console.print(f"{name}: {'; '.join(document[name]['reasons'])}")
    console.print(f"in the log: {', '.join(document['moves'])}")
    console.print(
        f"{document['decisions']:,} decisions at {document['events_per_second']:,}/s, lost "
        f"{document['lost']}, duplicates {document['duplicates']}"
    )
    console.print(f"load average {load[0]} before, {load[1]} after")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a slower input")
    parser.add_argument("--rate", type=int, help="events per second")
    options = parser.parse_args()
    before = os.getloadavg()
    document = measure(options.rate or (QUICK_RATE if options.quick else RATE))
    failed = failures(document)
    document["missed"] = failed
    show(document, loads(before))
    return conclude(document, failed)


if __name__ == "__main__":
    sys.exit(main())
