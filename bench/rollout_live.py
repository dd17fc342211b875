"""A rollout on a real broker under load, and what a shadow costs.

One scorer follows the control log while a steady input comes: a champion, a shadow, a canary at 5,
25 and 100 %, a rollback, then blue, green and blue again. Everything is read off the broker:

- ``lost``, ``duplicates``: by source coordinates.
- ``of_another_revision``: decisions that the activations tell otherwise.
- ``shares``: the canary's customers of those seen, and the binomial 99 % interval.
- ``flips``, ``canary_after_rollback``.
- ``activations``: seconds between a command's and its last activation's arrival at the broker.
- ``shadow_ratio``: throughput over a backlog with champion and shadow, to that with the champion
  alone; medians of interleaved runs.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.harness import traffic
from bench.harness.arena import PARTITIONS, Arena
from bench.harness.event_model import train_model
from bench.harness.gates import conclude, loads, rate
from bench.rollout_steps.arena import (
    Followed,
    begun_in,
    columns_of,
    decisions_of,
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
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.rollout.plan.command_kinds import CommandKind, Rollback, Step, Switch
from stream_scorer.training.features import CUSTOMER_FEATURES

OLD, NEW = "old:1.0.0", "new:1.0.0"
RATE, QUICK_RATE = 24_000, 6_000
SECONDS, QUICK_SECONDS = 8.0, 2.0
"""Of each stage."""
BACKLOG, QUICK_BACKLOG = 300_000, 60_000
PAIRS, QUICK_PAIRS = 5, 1
_SOURCE, _BACKLOG = "live.transactions", "live.backlog"
_RAMP = (0, 5, 25, 100)
_DONE_SECONDS = 240.0
_COMMAND_SECONDS = 20.0
"""That all commands of a rollout take at most."""


def roll_out(arena: Arena, per_second: int, seconds: float) -> dict[str, Any]:
    """Roll a version out and back under load; return what the broker has of it."""
    both = {CHAMPION: OLD, CANARY: NEW}
    alone, three = {CHAMPION: OLD}, {**both, CONTROL: OLD}
    colours = {"blue": OLD, "green": NEW}
    # Whichever colour decides, its decisions bear the champion's arm.
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
    feeder.kill()
    _, ends = bounds(followed.entry.settings.kafka, _SOURCE)
    arena.wait_committed(followed.contender, sum(ends.values()), _DONE_SECONDS)
    fed = sum(ends.values()) / (time.monotonic() - began)
    for process in (feeder, followed.contender):
        process.stop()
    return _judged(arena, followed, ramp, back) | {"events_per_second": round(fed)}


def _judged(arena: Arena, followed: Followed, ramp: list[int], back: int) -> dict[str, Any]:
    topics = followed.entry.settings.kafka.topics
    found = decisions_of(arena, followed.entry)
    begun = begun_in(arena, followed.entry)
    arrived = {said.sequence: said.at_ms for said in said_in(followed)}
    first, end = bounds(followed.entry.settings.kafka, _SOURCE)
    if any(first.values()):
        raise SystemExit("the input has lost its beginning")
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
            followed.contender.wait_ready()
            followed.contender.go()
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
        table = traffic.transactions(max(events, 60_000))
        for name in ("old", "new"):
            train_model(table, arena.directory / "models", name, CUSTOMER_FEATURES)
        arena.feed(_BACKLOG, traffic.clean(table.slice(0, events), arena.registry))
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


def show(document: dict[str, Any], load: tuple[str, str]) -> None:
    """Print the tables."""
    console = Console(width=100)
    table = Table("stage", "began after s", title="Commands under load", title_justify="left")
    for row in document["activations"]:
        table.add_row(row["stage"], str(row["seconds"]))
    console.print(table)
    table = Table("stage", "share", "customers", "canary", "99 %", "decisions",
                  title="Customers of the canary", title_justify="left")  # fmt: skip
    for row in document["shares"]:
        table.add_row(
            row["stage"], str(row["share"]), str(row["customers"]), str(row["canary"]),
            f"{row['low']} to {row['high']}", f"{row['decisions']:,}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"{document['decisions']:,} decisions at {document['events_per_second']:,}/s, lost "
        f"{document['lost']}, duplicates {document['duplicates']}, flips {document['flips']}, "
        f"canary after the rollback {document['canary_after_rollback']}"
    )
    console.print(
        f"champion alone {document['champion_alone']:,}/s, with a shadow "
        f"{document['champion_and_shadow']:,}/s: {document['shadow_ratio']}"
    )
    console.print(f"load average {load[0]} before, {load[1]} after")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter stages, a slower input")
    parser.add_argument("--rate", type=int, help="events per second")
    parser.add_argument("--seconds", type=float, help="length of each stage")
    options = parser.parse_args()
    before, quick = os.getloadavg(), options.quick
    document = measure(
        options.rate or (QUICK_RATE if quick else RATE),
        options.seconds or (QUICK_SECONDS if quick else SECONDS),
        QUICK_BACKLOG if quick else BACKLOG,
        QUICK_PAIRS if quick else PAIRS,
    )
    failed = failures(document)
    document["missed"] = failed
    show(document, loads(before))
    return conclude(document, failed)


if __name__ == "__main__":
    sys.exit(main())
