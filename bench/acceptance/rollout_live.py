"""A rollout on a real broker under load, and the cost of a shadow.

One scorer follows the control log during a steady input: a champion, a shadow, a canary at 5, 25
and 100 %, a rollback, then blue, green and blue again. All results come from the broker:

- ``lost``, ``duplicates``: by source coordinates.
- ``of_another_revision``: decisions that contradict the activations.
- ``shares``: the canary's customers of those seen, and the binomial 99 % interval.
- ``flips``, ``canary_after_rollback``.
- ``activations``: seconds between a command's and its last activation's arrival at the broker.
- ``shadow_ratio``: throughput over a backlog with champion and shadow, to that with the champion
  alone; medians of interleaved runs.
"""

import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.harness import traffic
from bench.harness.arena import PARTITIONS, Arena
from bench.harness.event_model import train_model
from bench.harness.gates import rate
from bench.harness.script import Number, Script, table
from bench.rollout_steps.arena import (
    Followed,
    begun_in,
    columns_of,
    decisions_of,
    drained,
    records_of,
    said_in,
)
from bench.verdicts.rollout_live import (
    activation_seconds,
    after_rollback,
    counted,
    failures,
    flips,
    least_rate,
    misrouted,
    shares,
)
from stream_scorer.core.decision.routing import CANARY, CHAMPION, CONTROL
from stream_scorer.rollout.plan.command_kinds import CommandKind, Rollback, Step, Switch
from stream_scorer.training.features import CUSTOMER_FEATURES

OLD, NEW = "old:1.0.0", "new:1.0.0"
_SOURCE, _BACKLOG = "live.transactions", "live.backlog"
_RAMP = (0, 5, 25, 100)
_DONE_SECONDS = 240.0
_COMMAND_SECONDS = 20.0
"""Maximum time that all commands of a rollout take."""


def roll_out(arena: Arena, per_second: int, seconds: float) -> dict[str, Any]:
    """Roll a version out and back under load; return the broker's records of it."""
    both = {CHAMPION: OLD, CANARY: NEW}
    alone, three = {CHAMPION: OLD}, {**both, CONTROL: OLD}
    colours = {"blue": OLD, "green": NEW}
    # Decisions of either colour have the champion's arm.
    blue, green = ({CHAMPION: version} for version in colours.values())
    arena.create({_SOURCE: PARTITIONS})
    followed = Followed(arena, "live", _SOURCE)
    # It is ended when the last stage has lasted: commands take their time, too.
    count = int(per_second * (seconds * 10 + _COMMAND_SECONDS))
    feeder = arena.start(arena.entry("input", _SOURCE, "schedule", str(per_second), str(count)))
    for process in (followed.contender, feeder):
        process.wait_ready()
    followed.plan("champion", None, alone, strategy="champion", versions=alone)
    followed.contender.go()
    arena.wait_committed(followed.contender, 0, _DONE_SECONDS)
    feeder.go()
    began = time.monotonic()
    arena.wait_committed(followed.contender, per_second, _DONE_SECONDS)
    time.sleep(seconds)
    ramp = [
        followed.plan(
            "shadow", None, alone, strategy="canary", versions=both,
            ramp=[{"percent": percent} for percent in _RAMP],
        )
    ]  # fmt: skip
    time.sleep(seconds)
    for stage, percent in enumerate(_RAMP[1:], 1):
        ramp.append(
            followed.give(
                f"canary {percent} %", CommandKind.STEP, Step(stage=stage), percent / 100, three
            )
        )
        time.sleep(seconds)
    back = followed.give("rollback", CommandKind.ROLLBACK, Rollback(reason="bench"), None, alone)
    time.sleep(seconds)
    followed.plan("blue", None, blue, strategy="blue-green", versions=colours, active="blue")
    time.sleep(seconds)
    followed.give("green", CommandKind.SWITCH, Switch(to="green"), None, green)
    time.sleep(seconds)
    followed.give("blue again", CommandKind.SWITCH, Switch(to="blue"), None, blue)
    time.sleep(seconds)
    if feeder.ended() is not None:
        raise SystemExit("the input was over before the last stage")
    ends, speed = drained(followed, feeder, began)
    followed.contender.stop()
    return _judged(arena, followed, ramp, back, ends) | {"events_per_second": speed}


def _judged(
    arena: Arena, followed: Followed, ramp: list[int], back: int, end: Mapping[int, int]
) -> dict[str, Any]:
    topics = followed.entry.settings.kafka.topics
    found = decisions_of(arena, followed.entry)
    begun = begun_in(arena, followed.entry)
    arrived = {said.sequence: said.at_ms for said in said_in(followed)}
    shadow = columns_of(arena, followed.entry, topics.shadow_scores, "shadow-score.v1")
    scored = np.stack([shadow["source_partition"].to_numpy(), shadow["source_offset"].to_numpy()])
    mine = found.revision == ramp[0]
    decided = np.stack([found.partition[mine], found.offset[mine]])
    return {
        **counted(end, found),
        **misrouted(found, begun, followed.stages),
        "shares": shares(found, followed.stages),
        "flips": flips(found, ramp),
        "canary_after_rollback": after_rollback(found, begun, back),
        "shadow_mismatches": _differing(scored, decided),
        "activations": [
            {
                "stage": stage.name,
                "seconds": activation_seconds(begun, stage.revision, arrived[stage.revision], end),
            }
            for stage in followed.stages[1:]
        ],
        "decisions": len(found),
        "shadow_scores": shadow.num_rows,
    }


def _differing(one: Any, other: Any) -> int:
    """Return how many (partition, offset) columns are not in both, once."""
    both, counts = np.unique(np.concatenate([one, other], axis=1), axis=1, return_counts=True)
    return int((counts != 2).sum()) if both.size else 0


def shadow_rates(arena: Arena, events: int, pairs: int) -> dict[str, list[float]]:
    """Return events/s over a backlog, with and without a shadow, in interleaved runs."""
    found: dict[str, list[float]] = {"champion": [], "shadow": []}
    for number in range(-1, pairs):
        for way in ("champion", "shadow") if number % 2 else ("shadow", "champion"):
            followed = Followed(arena, f"{way}{number + 1}", _BACKLOG)
            versions = {CHAMPION: OLD} | ({"next": NEW} if way == "shadow" else {})
            followed.plan(way, None, versions, strategy=way, versions=versions)
            followed.contender.begin()
            arena.wait_committed(followed.contender, events, _DONE_SECONDS)
            followed.contender.stop()
            topic = followed.entry.settings.kafka.topics.decisions
            times = [raw.timestamp for raw in records_of(followed.entry, topic)]
            if number >= 0:
                # The first pair finds a broker that still compiles.
                found[way].append(rate(np.concatenate(times)))
    return found


def measure(per_second: int, seconds: float, events: int, pairs: int) -> dict[str, Any]:
    """Run all of it; return the report."""
    with Arena() as arena:
        rows = traffic.transactions(max(events, 60_000))
        for name in ("old", "new"):
            train_model(rows, arena.directory / "models", name, CUSTOMER_FEATURES)
        arena.feed(_BACKLOG, traffic.clean(rows.slice(0, events), arena.registry))
        rates = shadow_rates(arena, events, pairs)
        document = roll_out(arena, per_second, seconds)
    medians = {way: statistics.median(each) for way, each in rates.items()}
    return document | {
        "champion_alone": round(medians["champion"]),
        "champion_and_shadow": round(medians["shadow"]),
        "shadow_ratio": round(medians["shadow"] / medians["champion"], 3),
        "pairs": pairs,
        "least_rate": least_rate(per_second),
    }


def main() -> int:
    script = Script(
        __doc__, "shorter stages, a slower input",
        rate=Number(24_000, 6_000, "events per second"),
        seconds=Number(8.0, 2.0, "length of each stage"),
        backlog=Number(300_000, 60_000), pairs=Number(5, 1),
    )  # fmt: skip
    options = script.options
    found = measure(options.rate, options.seconds, options.backlog, options.pairs)
    columns = ("stage", "share", "customers", "canary", "low", "high", "decisions")
    return script.conclude(
        found,
        failures(found),
        table(
            "Commands under load", "stage", "began after s",
            rows=(row.values() for row in found["activations"]),
        ),
        table(
            "Customers of the canary, with the 99 % interval", *columns,
            rows=([row[name] for name in columns] for row in found["shares"]),
        ),
        f"{found['decisions']:,} decisions at {found['events_per_second']:,}/s, lost "
        f"{found['lost']}, duplicates {found['duplicates']}, flips {found['flips']}, "
        f"canary after the rollback {found['canary_after_rollback']}",
        f"champion alone {found['champion_alone']:,}/s, with a shadow "
        f"{found['champion_and_shadow']:,}/s: {found['shadow_ratio']}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
