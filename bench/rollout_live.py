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
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench import traffic
from bench.arena import PARTITIONS, Arena, Contender, Entry
from bench.event_model import train_model
from bench.gates import conclude, loads, rate
from bench.rollout_live_gates import (
    LEAST_RATE,
    Begun,
    Decisions,
    Stage,
    activation_seconds,
    after_rollback,
    counted,
    failures,
    flips,
    misrouted,
    shares,
)
from stream_scorer.apps.control_log import ControlLog
from stream_scorer.apps.train_features import CUSTOMER_FEATURES
from stream_scorer.codec.avro import ColumnDecoder
from stream_scorer.codec.record import RecordCodec
from stream_scorer.codec.schemas import narrowed, reader_schema
from stream_scorer.core.plan import Plan
from stream_scorer.core.routing import CANARY, CHAMPION
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.kafka.following import TopicFollower
from stream_scorer.kafka.offsets import bounds
from stream_scorer.ports import RawRecords
from stream_scorer.rollout.commands import Kind, Rollback, Step, Switch
from stream_scorer.rollout.documents import plan_of
from stream_scorer.rollout.parts import Part

OLD, NEW = "old:1.0.0", "new:1.0.0"
RATE, QUICK_RATE = 24_000, 6_000
SECONDS, QUICK_SECONDS = 8.0, 2.0
"""Of each stage."""
BACKLOG, QUICK_BACKLOG = 300_000, 60_000
PAIRS, QUICK_PAIRS = 5, 1
_SOURCE, _BACKLOG = "live.transactions", "live.backlog"
_RAMP = (0, 5, 25, 100)
_DONE_SECONDS = 240.0
_AT_ONCE = 50_000
_QUIET_SECONDS = 1.0
_NEEDED = frozenset({
    "source_partition", "source_offset", "customer_id", "model", "model_version", "arm",
    "plan_revision",
})  # fmt: skip


def say(line: str) -> None:
    """Tell what is being done."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


class Followed:
    """A scorer that follows a control log of its own.

    Args:
        arena: Where.
        name: Of the group and prefix of its topics.
        source: Its input.
    """

    def __init__(self, arena: Arena, name: str, source: str) -> None:
        self._port = free_ports(1)[0]
        self.entry: Entry = arena.entry(
            name, source, "run", "--from", "earliest", store=arena.directory / "models",
            http={"port": self._port},
        )  # fmt: skip
        arena.create_outputs(self.entry)
        arena.create_rollout(self.entry)
        self.log = ControlLog(self.entry.settings)
        self.contender: Contender = arena.start(self.entry)
        self.stages: list[Stage] = []

    def plan(self, name: str, share: float | None, *versions: str, **table: Any) -> int:
        """Give a plan; see :meth:`give`."""
        given = plan_of({"name": name, "salt": name, **table})
        return self.give(name, Kind.PLAN, given, share, *versions)

    def give(self, name: str, kind: Kind, body: Part, share: float | None, *versions: str) -> int:
        """Give a command, and note the stage that it begins; return its revision."""
        say(name)
        entry = self.log.append(kind, body, None)
        if entry.command is None:
            raise SystemExit(f"{name}: {entry.refused}")
        revision = entry.command.sequence
        self.stages.append(
            Stage(name, revision, share, frozenset(versions), time.time_ns() // 1_000_000)
        )
        return revision


def records_of(entry: Entry, topic: str) -> Iterator[RawRecords]:
    """Yield all committed records of a topic."""
    follower = TopicFollower(entry.settings.kafka, topic, "bench")
    try:
        follower.mark_end()
        while follower.left:
            raw = follower.poll(_AT_ONCE, _QUIET_SECONDS)
            if raw is not None:
                yield raw
    finally:
        follower.close()


def _columns(arena: Arena, entry: Entry, topic: str, schema: str) -> pa.Table:
    """Return what is needed here of a topic's records."""
    needed = narrowed(reader_schema(schema), _NEEDED.__contains__)
    decoder = ColumnDecoder(arena.registry, needed, Plan())
    return pa.Table.from_batches(
        [decoder.decode(raw.values).records for raw in records_of(entry, topic)], decoder.schema
    )


def decisions_of(arena: Arena, entry: Entry) -> Decisions:
    """Return an entry's committed decisions."""
    table = _columns(arena, entry, entry.settings.kafka.topics.decisions, "decision.v1")

    def texts(name: str) -> Any:
        return np.array(table[name].to_pylist())

    versions = np.char.add(np.char.add(texts("model"), ":"), texts("model_version"))
    return Decisions(
        table["source_partition"].to_numpy(), table["source_offset"].to_numpy(),
        texts("customer_id"), texts("arm"), versions, table["plan_revision"].to_numpy(),
    )  # fmt: skip


def begun_in(arena: Arena, entry: Entry) -> list[Begun]:
    """Return an entry's activations; none may be a refusal."""
    text = reader_schema("activation.v1")
    codec = RecordCodec(arena.registry.id_for("activations-value", text), text)
    found = []
    for raw in records_of(entry, entry.settings.kafka.topics.activations):
        for value, at in zip(raw.values, raw.timestamp.tolist(), strict=True):
            row = codec.decode(value or b"", arena.registry)
            if row["status"] != "ACTIVE":
                raise SystemExit(f"revision {row['revision']} was refused: {row['reason']}")
            found.append(Begun(row["partition"], row["offset"], row["revision"], at))
    return found


def roll_out(arena: Arena, per_second: int, seconds: float) -> dict[str, Any]:
    """Roll a version out and back under load; return what the broker has of it."""
    both = {CHAMPION: OLD, CANARY: NEW}
    colours = {"blue": OLD, "green": NEW}
    arena.create({_SOURCE: PARTITIONS})
    followed = Followed(arena, "live", _SOURCE)
    count = int(per_second * seconds * 10.5)
    feeder = arena.start(arena.entry("input", _SOURCE, "schedule", str(per_second), str(count)))
    for process in (followed.contender, feeder):
        process.wait_ready()
    followed.plan("champion", None, OLD, strategy="champion", versions={CHAMPION: OLD})
    followed.contender.go()
    arena.wait_committed(followed.contender, 0, _DONE_SECONDS)
    feeder.go()
    began = time.monotonic()
    arena.wait_committed(followed.contender, per_second, _DONE_SECONDS)
    time.sleep(seconds)
    ramp = [
        followed.plan(
            "shadow", None, OLD, strategy="canary", versions=both,
            ramp=[{"percent": percent} for percent in _RAMP],
        )
    ]  # fmt: skip
    time.sleep(seconds)
    for stage, percent in enumerate(_RAMP[1:], 1):
        ramp.append(
            followed.give(
                f"canary {percent} %", Kind.STEP, Step(stage=stage), percent / 100, OLD, NEW
            )
        )
        time.sleep(seconds)
    back = followed.give("rollback", Kind.ROLLBACK, Rollback(reason="bench"), None, OLD)
    time.sleep(seconds)
    followed.plan("blue", None, OLD, strategy="blue-green", versions=colours, active="blue")
    time.sleep(seconds)
    followed.give("green", Kind.SWITCH, Switch(to="green"), None, NEW)
    time.sleep(seconds)
    followed.give("blue again", Kind.SWITCH, Switch(to="blue"), None, OLD)
    arena.wait_committed(followed.contender, count, _DONE_SECONDS)
    fed = count / (time.monotonic() - began)
    for process in (feeder, followed.contender):
        process.stop()
    return _judged(arena, followed, ramp, back) | {"events_per_second": round(fed)}


def _judged(arena: Arena, followed: Followed, ramp: list[int], back: int) -> dict[str, Any]:
    topics = followed.entry.settings.kafka.topics
    found = decisions_of(arena, followed.entry)
    begun = begun_in(arena, followed.entry)
    first, end = bounds(followed.entry.settings.kafka, _SOURCE)
    if any(first.values()):
        raise SystemExit("the input has lost its beginning")
    shadow = _columns(arena, followed.entry, topics.shadow_scores, "shadow-score.v1")
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
                "seconds": activation_seconds(begun, stage, sorted(end)),
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
            followed.plan(way, None, OLD, strategy=way, versions=versions)
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
        "least_rate": min(LEAST_RATE, int(0.8 * per_second)),
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
