"""A scorer that follows a control log in an arena, and the results of both on the broker."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bench.harness.arena import Arena
from bench.harness.process import Contender, Entry
from bench.harness.script import say
from bench.verdicts.rollout_live import Begun, Decisions, Stage
from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import narrowed, reader_schema
from stream_scorer.rollout.log.activation_log import ACTIVE
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind, VerdictGiven
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.rollout.plan.strict_parsing import StrictModel

_AT_ONCE = 50_000
_WAIT_SECONDS = 1.0
_DRAIN_SECONDS = 240.0
_NEEDED = frozenset({
    "source_partition", "source_offset", "customer_id", "model", "model_version", "arm",
    "plan_revision",
})  # fmt: skip


class Followed:
    """A scorer that follows a separate control log.

    Args:
        arena: The arena.
        name: Of the group and prefix of its topics.
        source: Its input.
    """

    def __init__(self, arena: Arena, name: str, source: str) -> None:
        self.arena = arena
        self.source = source
        self.entry = arena.entry(
            name, source, "run", "--from", "earliest", store=arena.directory / "models"
        )
        arena.create_outputs(self.entry)
        arena.create_rollout(self.entry)
        self.log = ControlLog(self.entry.settings)
        self.contender: Contender = arena.start(self.entry)
        self.stages: list[Stage] = []

    def plan(self, name: str, share: float | None, arms: Mapping[str, str], **table: Any) -> int:
        """Give a plan; see :meth:`give`."""
        given = plan_of({"name": name, "salt": name, **table})
        return self.give(name, CommandKind.PLAN, given, share, arms)

    def give(
        self,
        name: str,
        kind: CommandKind,
        body: StrictModel,
        share: float | None,
        arms: Mapping[str, str],
    ) -> int:
        """Give a command, and note the stage that it begins; return its revision.

        Args:
            name: Of the stage.
            kind: Of the command.
            body: Its contents.
            share: The canary's.
            arms: NAME:VERSION by each arm that may then decide.
        """
        say(name)
        entry = self.log.append(kind, body, None)
        if entry.command is None:
            raise SystemExit(f"{name}: {entry.refused}")
        revision = entry.command.sequence
        self.stages.append(Stage(name, revision, share, arms))
        return revision


def drained(followed: Followed, feeder: Contender, began: float) -> tuple[Mapping[int, int], int]:
    """Stop the input and wait until all of it is decided.

    Args:
        followed: The scorer.
        feeder: Sends its input.
        began: When the input began, by the monotonic clock.

    Returns:
        By input partition how many records it has, and the events per second that were decided.
    """
    feeder.kill()
    first, ends = bounds(followed.entry.settings.kafka, followed.source)
    if any(first.values()):
        raise SystemExit("the input has lost its beginning")
    total = sum(ends.values())
    followed.arena.wait_committed(followed.contender, total, _DRAIN_SECONDS)
    return ends, round(total / (time.monotonic() - began))


def records_of(entry: Entry, topic: str) -> Iterator[RawRecords]:
    """Yield all committed records of those that a topic holds now."""
    follower = TopicFollower(entry.settings.kafka, topic, "bench")
    try:
        follower.mark_end(stable=False)
        while follower.left:
            raw = follower.poll_to_end(_AT_ONCE, _WAIT_SECONDS)
            if raw is not None:
                yield raw
    finally:
        follower.close()


def columns_of(arena: Arena, entry: Entry, topic: str, schema: str) -> pa.Table:
    """Return the required columns of a topic's records."""
    needed = narrowed(reader_schema(schema), _NEEDED.__contains__)
    decoder = ColumnDecoder(arena.registry, needed, UNLIMITED)
    return pa.Table.from_batches(
        [decoder.decode(raw.values).records for raw in records_of(entry, topic)], decoder.schema
    )


def decisions_of(arena: Arena, entry: Entry) -> Decisions:
    """Return an entry's committed decisions."""
    table = columns_of(arena, entry, entry.settings.kafka.topics.decisions, "decision.v1")

    def texts(name: str) -> Any:
        return np.array(table[name].to_pylist())

    versions = np.char.add(np.char.add(texts("model"), ":"), texts("model_version"))
    return Decisions(
        table["source_partition"].to_numpy(), table["source_offset"].to_numpy(),
        texts("customer_id"), texts("arm"), versions, table["plan_revision"].to_numpy(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """An accepted command.

    Attributes:
        kind: Which.
        sequence: Its number, and that of the revision that it makes.
        at_ms: When it arrived at the broker.
        verdict: A verdict's contents; None for other commands.
    """

    kind: CommandKind
    sequence: int
    at_ms: int
    verdict: VerdictGiven | None


def said_in(followed: Followed) -> list[Said]:
    """Return the accepted commands of a control log, in order."""
    followed.log.refresh()
    topic = followed.entry.settings.kafka.topics.rollout
    arrived = np.concatenate([raw.timestamp for raw in records_of(followed.entry, topic)])
    return [
        Said(
            CommandKind(entry.command.kind), entry.command.sequence, int(arrived[entry.offset]),
            entry.body if isinstance(entry.body, VerdictGiven) else None,
        )
        for entry in followed.log.log.entries
        if entry.accepted and entry.command is not None
    ]  # fmt: skip


def begun_in(arena: Arena, entry: Entry) -> list[Begun]:
    """Return an entry's activations; none may be a refusal."""
    found = []
    for message, row in arena.decode(entry.settings.kafka.topics.activations, "activation.v1"):
        if row["status"] != ACTIVE:
            raise SystemExit(f"revision {row['revision']} was refused: {row['reason']}")
        at_ms = message.timestamp()[1]
        found.append(Begun(row["partition"], row["offset"], row["revision"], at_ms))
    return found
