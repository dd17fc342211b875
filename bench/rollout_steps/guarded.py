"""The controller under load: a harmful version is rolled back, a good one is promoted.

One scorer and one controller follow a control log during a steady input of 50,000 customers, with
labels half a day of event time later. First a version that alerts far more often decides for a
quarter of the customers; the controller sees it in the decisions and rolls it back. Then one that
decides as the champion does goes from shadow to 5, 25 and 50 %, and is promoted because of its
labels. No person intervenes. All results come from the broker:

- ``lost``, ``duplicates``, ``of_another_revision``, ``of_another_version``: as in ``rollout_live``.
- ``harm``: decisions of the harmful canary until it was rolled back, seconds from the verdict's
  arrival at the broker to the last partition's activation, and canary decisions after those.
- ``promotion``: the same of the promotion, with the number of its matured frauds.
- ``moves``: what the controller wrote, in order.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness import traffic
from bench.harness.arena import PARTITIONS, Arena
from bench.harness.event_model import train_model
from bench.harness.process import Contender, until
from bench.harness.script import Number, Script, missed, table
from bench.rollout_steps.arena import Followed, Said, begun_in, decisions_of, drained, said_in
from bench.verdicts.rollout_live import (
    MOST_ACTIVATION_SECONDS,
    Begun,
    Decisions,
    Stage,
    activation_seconds,
    after_rollback,
    common_gates,
    counted,
    least_rate,
    misrouted,
)
from stream_scorer.core.decision.routing import CANARY, CHAMPION, CONTROL
from stream_scorer.models.bundles.bundle import DecisionThresholds
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.training.features import CUSTOMER_FEATURES

OLD, LOUD, SOUND = "old:1.0.0", "loud:1.0.0", "sound:1.0.0"
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
    """Wait until the log has a command of a kind that only the controller gives."""

    def given() -> bool:
        followed.log.refresh()
        entries = followed.log.log.entries
        return any(e.accepted and e.command and e.command.kind == kind for e in entries)

    def state() -> str:
        verdicts = followed.log.refresh().verdicts
        return f"{kind.value}: { ({guard: str(v.verdict) for guard, v in verdicts.items()}) }"

    until(given, state, _VERDICT_SECONDS, controller, followed.contender)


def measure(per_second: int) -> dict[str, Any]:
    """Run both rollouts; return the report."""
    with Arena() as arena:
        rows = traffic.transactions(60_000)
        store = arena.directory / "models"
        usual = train_model(rows, store, "old", CUSTOMER_FEATURES)
        loud = DecisionThresholds(review=usual.review / 8, block=usual.block)
        train_model(rows, store, "loud", CUSTOMER_FEATURES, loud)
        train_model(rows, store, "sound", CUSTOMER_FEATURES)
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
        began = time.monotonic()
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
        ends, speed = drained(followed, feeder, began)
        for process in (controller, followed.contender):
            process.stop()
        return _judged(arena, followed, ends) | {
            "events_per_second": speed,
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
    """Return the result of the rollout that ended with a command of this kind."""
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
    moves = [(name, document[name]) for name in ("harm", "promotion")]
    return missed(
        *common_gates(document),
        *(
            (f"{name}: {{}} decisions are the canary's afterwards", row["canary_after"], "==", 0)
            for name, row in moves
        ),
        *(
            (
                f"{name}: began {{}} s after its verdict",
                row["verdict_to_activation_seconds"], "<=", MOST_ACTIVATION_SECONDS,
            )
            for name, row in moves
        ),
    )  # fmt: skip


def main() -> int:
    script = Script(
        __doc__, "a slower input", rate=Number(24_000, 6_000, "events per second")
    )  # fmt: skip
    found = measure(script.options.rate)
    columns = {
        "canary decisions": "canary_decisions", "verdict after s": "seconds_to_verdict",
        "in force after s": "verdict_to_activation_seconds", "afterwards": "canary_after",
    }  # fmt: skip
    moves = {name: found[name] for name in ("harm", "promotion")}
    rows = ((name, *(row[key] for key in columns.values())) for name, row in moves.items())
    return script.conclude(
        found,
        failures(found),
        table("What the controller did", "rollout", *columns, rows=rows),
        *(f"{name}: {'; '.join(row['reasons'])}" for name, row in moves.items()),
        f"in the log: {', '.join(found['moves'])}",
        f"{found['decisions']:,} decisions at {found['events_per_second']:,}/s, lost "
        f"{found['lost']}, duplicates {found['duplicates']}",
    )


if __name__ == "__main__":
    sys.exit(main())
