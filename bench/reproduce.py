"""Past decisions recomputed, of a rollout that was ramped, swapped and killed in the middle.

A scorer follows a log whose plans begin at event times: a champion, a canary at 20 and 50 %,
another champion. It is killed (SIGKILL) while it decides, and started again. Then ``stream-scorer
reproduce`` recomputes every decision at both depths, and must find

- all of them equal, and
- in copies of the decisions topic, or of the store, what was planted: a score off by one unit in
  the last place, another arm, another threshold.
"""

import argparse
import io
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Producer
from rich.console import Console

from bench.harness import traffic
from bench.harness.arena import Arena
from bench.harness.event_model import train_model
from bench.harness.gates import conclude
from bench.rollout_steps.arena import Followed
from stream_scorer.core.decision.routing import CANARY, CHAMPION
from stream_scorer.kafka.topics import config
from stream_scorer.models.bundles.bundle import DecisionThresholds
from stream_scorer.registry.sources import reader_schema
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.run import Depth, Question, reproduce
from stream_scorer.rollout.plan.command_kinds import CommandKind, Step
from stream_scorer.settings import Settings
from stream_scorer.training.features import CUSTOMER_FEATURES

OLD, NEW = "old:1.0.0", "new:1.0.0"
EVENTS, QUICK_EVENTS = 120_000, 30_000
LEAST_DECISIONS, LEAST_QUICK = 100_000, 25_000
_SOURCE = "past.transactions"
_DONE_SECONDS = 120.0
_FRAME = 5
_DEPTHS: tuple[Depth, ...] = ("recorded", "input")
_FAR_MS = 2**53


def decide(arena: Arena, events: int) -> Followed:
    """Let a scorer decide, killed in the middle; return what followed the log."""
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
    followed.contender.wait_ready()
    followed.contender.go()
    arena.wait_committed(followed.contender, events // 3, _DONE_SECONDS)
    followed.contender.kill()
    again = arena.start(followed.entry)
    again.wait_ready()
    again.go()
    arena.wait_committed(again, events, _DONE_SECONDS)
    again.stop()
    return followed


def asked(settings: Settings, depth: Depth) -> tuple[Reproduction, float]:
    """Return what a reproduction of everything finds, and its seconds."""
    began = time.monotonic()
    found = reproduce(settings, Question(depth, 0, _FAR_MS), lambda *_: None)
    return found, time.monotonic() - began


def planted(
    arena: Arena, settings: Settings, name: str, change: Callable[[dict[str, Any]], bool]
) -> Settings:
    """Return settings of a copy of the decisions in which one was changed.

    Args:
        arena: Where.
        settings: Of the decisions.
        name: Of the copy.
        change: Changes a decision in place; says whether it did.
    """
    topics = settings.kafka.topics
    schema = fastavro.parse_schema(json.loads(reader_schema("decision.v1")))
    copy = f"past.{name}"
    arena.create({copy: 1})
    producer = Producer(config.common(settings.kafka) | {"queue.buffering.max.messages": 1_000_000})
    done = False
    for message in arena.outputs(topics.decisions):
        value = message.value()
        if not done:
            record: Any = fastavro.schemaless_reader(io.BytesIO(value[_FRAME:]), schema, None)
            done = change(record)
            if done:
                out = io.BytesIO()
                fastavro.schemaless_writer(out, schema, record)
                value = value[:_FRAME] + out.getvalue()
        producer.produce(copy, value, message.key())
        producer.poll(0)
    if producer.flush(_DONE_SECONDS) or not done:
        raise SystemExit(f"{name}: nothing was planted")
    kafka = settings.kafka.model_copy(
        update={"topics": topics.model_copy(update={"decisions": copy})}
    )
    return settings.model_copy(update={"kafka": kafka})


def _one_ulp(record: dict[str, Any]) -> bool:
    record["score"] = math.nextafter(record["score"], 1.0)
    return True


def _other_arm(record: dict[str, Any]) -> bool:
    if record["arm"] != CANARY:
        return False
    record["arm"] = CHAMPION
    return True


def measure(events: int) -> dict[str, Any]:
    """Run all of it; return the report."""
    with Arena(quick=True) as arena:
        table = traffic.transactions(60_000)
        store = arena.directory / "models"
        for name in ("old", "new"):
            limits = train_model(table, store, name, CUSTOMER_FEATURES)
        settings = decide(arena, events).entry.settings
        document: dict[str, Any] = {}
        for depth in _DEPTHS:
            found, seconds = asked(settings, depth)
            document[depth] = {
                "chosen": found.chosen, "equal": found.equal, "differing": found.differing,
                "missing": found.missing, "unexpected": found.unexpected,
                "not_compared": found.not_compared, "seconds": round(seconds, 1),
                "models": found.models, "given": found.given,
            }  # fmt: skip
        document["planted"] = {}
        for name, depth, change in (
            ("score", _DEPTHS[0], _one_ulp),
            ("arm", _DEPTHS[1], _other_arm),
        ):
            found, _ = asked(planted(arena, settings, name, change), depth)
            document["planted"][name] = {"fields": found.fields, "expected": {name: 1}}
        document["planted"]["threshold"] = _other_threshold(arena, settings, store, table, limits)
        return document


def _other_threshold(
    arena: Arena, settings: Settings, store: Path, table: Any, limits: DecisionThresholds
) -> dict[str, Any]:
    """Reproduce by a store in which one version's thresholds are others."""
    other = arena.directory / "other"
    shutil.copytree(store / "old", other / "old")
    half = DecisionThresholds(review=limits.review / 2, block=limits.block)
    train_model(table, other, "new", CUSTOMER_FEATURES, half)
    models = settings.models.model_copy(update={"directory": other})
    found, _ = asked(settings.model_copy(update={"models": models}), "recorded")
    return {"fields": found.fields, "expected": "decision"}


def failures(document: dict[str, Any], least: int) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    lines = []
    for depth in _DEPTHS:
        found = document[depth]
        if found["equal"] != found["chosen"] or found["chosen"] < least:
            lines.append(f"{depth}: {found['equal']} of {found['chosen']} are equal, least {least}")
        lines += [
            f"{depth}: {found[name]} {name}"
            for name in ("missing", "unexpected", "not_compared")
            if found[name]
        ]
        if set(found["models"]) != {OLD, NEW}:
            lines.append(f"{depth}: decided by {', '.join(found['models'])}")
    for name, found in document["planted"].items():
        expected, fields = found["expected"], found["fields"]
        good = expected in fields if isinstance(expected, str) else expected == fields
        if not good:
            lines.append(f"planted {name}: found {fields}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer events")
    parser.add_argument("--events", type=int, help="transactions")
    options = parser.parse_args()
    before = os.getloadavg()
    document = measure(options.events or (QUICK_EVENTS if options.quick else EVENTS))
    failed = failures(document, LEAST_QUICK if options.quick else LEAST_DECISIONS)
    document["missed"] = failed
    console = Console(width=100)
    for depth in _DEPTHS:
        found = document[depth]
        console.print(
            f"{depth}: {found['equal']:,} of {found['chosen']:,} equal in {found['seconds']} s"
        )
    for name, each in document["planted"].items():
        console.print(f"planted {name}: found {each['fields']}")
    console.print(f"load average {before[0]:.1f} before, {os.getloadavg()[0]:.1f} after")
    return conclude(document, failed)


if __name__ == "__main__":
    sys.exit(main())
