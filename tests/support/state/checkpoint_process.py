"""A scorer's work, driven by a test in place of the loop, on records that tests make up."""

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from stream_scorer.codec.records.codecs import open_codecs
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.records.record_key import KeyReader
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.kafka.topics.key_sample import KeySample
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.ports import BytesColumn, CheckpointStore, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rollout.log.ready_versions import Pinned
from stream_scorer.scoring.held_partitions import HeldPartitions, HeldState
from stream_scorer.scoring.outputs import Outcomes
from stream_scorer.scoring.work import Scoring, ScoringWork
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.schedule import Schedule
from stream_scorer.state.partitions.checkpoint_writer import Checkpoints
from stream_scorer.state.partitions.readiness import Warmth
from stream_scorer.state.partitions.rejection_log import RejectionLog
from stream_scorer.state.partitions.restorer import Restoration
from stream_scorer.telemetry import Event, StateRestored

OWNER = Owner("g", "transactions")
FILES = FileRegistry(SCHEMAS_DIRECTORY)
TRANSACTION = RecordCodec(1, reader_schema("transaction.v1"))
START = 1_522_540_800_000
_DAY = 86_400_000
PARTITIONS = 2
LENGTH = 300

SETTINGS = Settings()
MODEL, PLAN = load_model(SETTINGS, Deployment())
CODECS = open_codecs(SETTINGS, FILES)


def written(partition: int, offset: int) -> bytes:
    """Return a transaction; times jump, so that some are late and some customers leave."""
    choose = random.Random(partition * 10_000 + offset)  # noqa: S311 it makes data
    late = choose.random() < 0.1
    return TRANSACTION.encode(
        {
            "transaction_id": f"{partition}-{offset if choose.random() < 0.95 else 0}",
            "event_time": START + offset * _DAY // 4 - (2 * _DAY if late else 0),
            "customer_id": f"c{partition}-{choose.randrange(40) if offset < 150 else offset % 7}",
            "terminal_id": "x", "amount_minor": offset, "currency": "EUR",
        }
    )  # fmt: skip


VALUES = {(p, o): written(p, o) for p in range(PARTITIONS) for o in range(LENGTH)}


def records(places: list[tuple[int, int]]) -> RawRecords:
    n = len(places)
    return RawRecords(
        BytesColumn.of(VALUES[place] for place in places), BytesColumn.nulls(n), None,
        np.array([p for p, _ in places], np.int32), np.array([o for _, o in places], np.int64),
        np.full(n, START + 400 * _DAY, np.int64),
    )  # fmt: skip


class Replay:
    def __init__(self, partition: int, first: int, end: int) -> None:
        self.partition, self.next_offset, self.end = partition, first, end
        self.done = False

    def step(self) -> RawRecords:
        first, self.next_offset = self.next_offset, min(self.next_offset + 37, self.end)
        self.done = self.next_offset == self.end
        return records([(self.partition, o) for o in range(first, self.next_offset)])

    def close(self) -> None:
        pass


class Input:
    def __init__(self, low: int) -> None:
        self.low = low

    def low_watermark(self, _: int) -> int:
        return self.low

    def partition_count(self) -> int:
        return PARTITIONS

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)


class Process:
    """A scorer whose loop a test plays: one life between two crashes."""

    def __init__(
        self,
        store: CheckpointStore,
        committed: dict[int, int],
        bytes_per_event: float = 20_000,
        low: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.committed = committed
        self.heard: list[Event] = []
        rings = PartitionRings(MODEL.features)
        opened: Any = Replay
        self.checkpoints = Checkpoints(
            store, OWNER, rings, Schedule(bytes_per_event, 0), self.heard.append, clock
        )
        state = HeldState(
            rings,
            Restoration("transactions", Input(low), OWNER, store, rings, opened),
            self.checkpoints,
            RejectionLog("state", OWNER, lambda _: 0),
            Warmth(self.heard.append),
        )
        versions = Pinned(MODEL, PLAN)
        self.held = HeldPartitions(versions, CODECS.transactions, state, self.heard.append)
        outputs = Outcomes(CODECS, SETTINGS.kafka.topics, "0")
        sample = KeySample(self.heard.append, KeyReader(FILES))
        self.work = ScoringWork(self.held, versions, CODECS, outputs, sample, self.heard.append)
        self.work.assigned(dict(committed))
        while self.work.restoring():
            self.work.restore()
        self.positions = dict(committed)

    def compute(self, sizes: tuple[int, ...]) -> tuple[RawRecords, Result[Scoring]] | None:
        places = [
            (p, o)
            for p, size in enumerate(sizes)
            for o in range(self.positions[p], min(self.positions[p] + size, LENGTH))
        ]
        if not places:
            return None
        raw = records(places)
        self.positions |= raw.next_offsets()
        return raw, self.work.compute(raw, Stages())

    def commit(self, batch: tuple[RawRecords, Result[Scoring]]) -> None:
        raw, result = batch
        for outgoing in result.outgoing:
            if outgoing.topic == "state":
                assert outgoing.partition is not None
                for partition, key, value in zip(
                    outgoing.partition.tolist(), outgoing.keys, outgoing.values, strict=True
                ):
                    assert key is not None
                    self.store.write(partition, [(key, value)])
        self.committed |= raw.next_offsets()
        self.work.keep(result, Stages(), raw)

    def abort(self, batch: tuple[RawRecords, Result[Scoring]] | None) -> None:
        if batch is not None:
            self.work.undo(batch[1])
            for partition in set(batch[0].partition.tolist()):
                mine = batch[0].offset[batch[0].partition == partition]
                self.positions[partition] = int(mine.min())

    def state(self) -> dict[int, list[bytes]]:
        """Return every bucket, once everyone has left whose time has come."""
        for partition in range(PARTITIONS):
            self.work.rings.of(partition).evict(10**9)
        return {
            p: [self.work.rings.of(p).dump(b) for b in range(BUCKETS)] for p in range(PARTITIONS)
        }

    def watermarks(self) -> list[int]:
        return [self.work.rings.of(partition).watermark for partition in range(PARTITIONS)]

    @property
    def replayed(self) -> dict[int, int]:
        return {
            each.partition: each.end_offset - each.first_offset
            for each in self.heard
            if isinstance(each, StateRestored)
        }
