"""Recomputes past decisions of a rollout that was ramped, swapped and killed in the middle.

A scorer follows a log whose plans begin at event times: a champion, a canary at 20 and 50 %,
another champion. It is killed (SIGKILL) while it decides, and started again. Then ``stream-scorer
reproduce`` recomputes every decision at both depths, and must find

- all of them equal, and
- in copies of the decisions topic, or of the store, what was planted: a score off by one unit in
  the last place, another arm, another threshold.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import traffic
from bench.harness.arena import Arena
from bench.harness.event_model import train_model
from bench.harness.script import Number, Script, missed, table
from bench.rollout_steps.arena import Followed
from stream_scorer.core.decision.routing import CANARY, CHAMPION
from stream_scorer.models.bundles.bundle import DecisionThresholds
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.run import Depth, Question, reproduce
from stream_scorer.rollout.plan.command_kinds import CommandKind, Step
from stream_scorer.settings import Settings
from stream_scorer.training.features import CUSTOMER_FEATURES

OLD, NEW = "old:1.0.0", "new:1.0.0"
_SOURCE = "past.transactions"
_DONE_SECONDS = 120.0
_TRAINING_ROWS = 60_000
_DEPTHS: tuple[Depth, ...] = ("recorded", "input")
_FAR_MS = 2**53
_COUNTS = (
    "chosen", "equal", "differing", "missing", "unexpected", "not_compared", "models", "given",
)  # fmt: skip


def decide(arena: Arena, events: int) -> Followed:
    """Run a scorer that is killed in the middle; return it with its control log."""
    table = traffic.transactions(events)
    arena.feed(_SOURCE, traffic.clean(table, arena.registry))
    times = [
        int(each.timestamp() * 1_000) for each in table["event_time"].to_pylist()[:: events // 20]
    ]
    followed = Followed(arena, "past", _SOURCE)
    old, new = {CHAMPION: OLD}, {CHAMPION: NEW}
    both = {**old, CANARY: NEW}
    followed.plan("champion", None, old, strategy="champion", versions=old)
    followed.plan(
        "canary", None, both, strategy="canary", versions=both,
        ramp=[{"percent": 20}, {"percent": 50}], effective_at=times[4],
    )  # fmt: skip
    followed.give("half", CommandKind.STEP, Step(stage=1, effective_at=times[9]), None, both)
    followed.plan("swap", None, new, strategy="champion", versions=new, effective_at=times[14])
    followed.contender.begin()
    arena.wait_committed(followed.contender, events // 3, _DONE_SECONDS)
    followed.contender.kill()
    again = arena.start(followed.entry)
    again.begin()
    arena.wait_committed(again, events, _DONE_SECONDS)
    again.stop()
    return followed


def reproduced(settings: Settings, depth: Depth) -> Reproduction:
    """Return the result of reproducing everything."""
    return reproduce(settings, Question(depth, 0, _FAR_MS), lambda *_: None)


def planted(
    arena: Arena, settings: Settings, field: str,
    applies: Callable[[Any], bool], change: Callable[[Any], Any],
) -> Settings:  # fmt: skip
    """Return settings of a copy of the decisions in which the first that applies is changed."""
    topics, codec = settings.kafka.topics, arena.codec("decision.v2")
    keys, values, done = [], [], False
    for message, decision in arena.decode(topics.decisions, "decision.v2"):
        value = message.value()
        if not done and applies(decision):
            value, done = codec.encode(decision | {field: change(decision[field])}), True
        keys.append(message.key())
        values.append(value)
    if not done:
        raise SystemExit(f"{field}: nothing was planted")
    copy = f"past.{field}"
    arena.feed(copy, [(keys, values)])
    changed = topics.model_copy(update={"decisions": copy})
    kafka = settings.kafka.model_copy(update={"topics": changed})
    return settings.model_copy(update={"kafka": kafka})


def other_threshold(
    arena: Arena, settings: Settings, store: Path, limits: DecisionThresholds
) -> Settings:
    """Return settings of a store in which one version has other thresholds."""
    other = arena.directory / "other"
    shutil.copytree(store / "old", other / "old")
    half = DecisionThresholds(review=limits.review / 2, block=limits.block)
    train_model(traffic.transactions(_TRAINING_ROWS), other, "new", CUSTOMER_FEATURES, half)
    models = settings.models.model_copy(update={"directory": other})
    return settings.model_copy(update={"models": models})


def measure(events: int) -> dict[str, Any]:
    """Run all of it; return the report."""
    with Arena(quick=True) as arena:
        store = arena.directory / "models"
        rows = traffic.transactions(_TRAINING_ROWS)
        for name in ("old", "new"):
            limits = train_model(rows, store, name, CUSTOMER_FEATURES)
        settings = decide(arena, events).entry.settings
        document: dict[str, Any] = {}
        for depth in _DEPTHS:
            began = time.monotonic()
            found = reproduced(settings, depth)
            document[depth] = {name: getattr(found, name) for name in _COUNTS}
            document[depth]["seconds"] = round(time.monotonic() - began, 1)
        score = planted(arena, settings, "score", lambda _: True, lambda s: math.nextafter(s, 1.0))
        arm = planted(arena, settings, "arm", lambda d: d["arm"] == CANARY, lambda _: CHAMPION)
        threshold = other_threshold(arena, settings, store, limits)
        document["planted"] = {
            "score": {"fields": reproduced(score, "recorded").fields, "expected": {"score": 1}},
            "arm": {"fields": reproduced(arm, "input").fields, "expected": {"arm": 1}},
            "threshold": {
                "fields": reproduced(threshold, "recorded").fields, "expected": "decision",
            },
        }  # fmt: skip
        return document


def failures(document: dict[str, Any], least: int) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    lines = []
    for depth in _DEPTHS:
        found = document[depth]
        lines += missed(
            (f"{depth}: {{}} are equal", found["equal"], "==", found["chosen"]),
            (f"{depth}: {{}} were compared", found["chosen"], ">=", least),
            *(
                (f"{depth}: {{}} {name}", found[name], "==", 0)
                for name in ("missing", "unexpected", "not_compared")
            ),
        )
        if set(found["models"]) != {OLD, NEW}:
            lines.append(f"{depth}: decided by {', '.join(found['models'])}")
    for name, found in document["planted"].items():
        expected, fields = found["expected"], found["fields"]
        good = expected in fields if isinstance(expected, str) else expected == fields
        if not good:
            lines.append(f"planted {name}: found {fields}")
    return lines


def main() -> int:
    script = Script(
        __doc__, "fewer events",
        events=Number(120_000, 30_000, "transactions"), least=Number(100_000, 25_000),
    )  # fmt: skip
    document = measure(script.options.events)
    columns = ("chosen", "equal", "seconds")
    rows = ((depth, *(document[depth][name] for name in columns)) for depth in _DEPTHS)
    return script.conclude(
        document,
        failures(document, script.options.least),
        table("Past decisions, recomputed", "from", *columns, rows=rows),
        *(f"planted {name}: {each['fields']}" for name, each in document["planted"].items()),
    )


if __name__ == "__main__":
    sys.exit(main())
