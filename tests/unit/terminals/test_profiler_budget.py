"""Unknown schema ids in the profiler's live input use the same look-up budget as the scorer's."""

from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np

from stream_scorer.codec.reading.decode import ColumnDecoder, TransactionDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Registry
from stream_scorer.terminals.profiler_work import Decoders, ProfilerWork, RowEncoder
from tests.support.registry.fake_registry import UNKNOWN, Clock, Reply, answering

TIME = 1_522_540_800_000
TRANSACTION, LABEL = reader_schema("transaction.v1"), reader_schema("label.v1")
GOOD = RecordCodec(1, TRANSACTION).encode(
    {
        "transaction_id": "t-1", "event_time": TIME, "customer_id": "c", "terminal_id": "x",
        "amount_minor": 1234, "currency": "EUR",
    }
)  # fmt: skip
BURST = 32
NOTE = b"1 0 %d %d %d" % (TIME, TIME, TIME - 1)


class Replay:
    """A replay of one batch."""

    def __init__(self, raw: RawRecords) -> None:
        self._raw = raw
        self.partition, self.end, self.next_offset = 0, len(raw), 0

    @property
    def done(self) -> bool:
        return self.next_offset >= self.end

    def step(self) -> RawRecords:
        self.next_offset = self.end
        return self._raw

    def close(self) -> None:
        pass


def records(partition: int) -> RawRecords:
    """Return a valid transaction and 300 records of unknown schema ids, from one partition."""
    unknown = [b"\0" + number.to_bytes(4, "big") + GOOD[5:] for number in range(100, 400)]
    count = 1 + len(unknown)
    return RawRecords(
        BytesColumn.of([GOOD, *unknown]), BytesColumn.of([b"c"] * count), None,
        np.full(count, partition, np.int32), np.arange(count), np.full(count, TIME),
    )  # fmt: skip


def profiler(url: str, notes: dict[int, bytes], replay: Any = None) -> ProfilerWork:
    """Return the work of one partition of transactions and one of labels."""
    source, plan = HttpRegistry(Registry(url=url, lookups_burst=BURST), Clock(), _no_wait), Plan()
    rows = RowEncoder(7, reader_schema("terminal-profile.v2"), "rows", 1)
    decoders = Decoders(TransactionDecoder(source, plan), ColumnDecoder(source, LABEL, plan))
    return ProfilerWork(
        plan, 1, 2, decoders, rows, notes, lambda _: None, lambda *_: replay
    )  # fmt: skip


def _no_wait(seconds: float) -> None:
    del seconds


class Asked:
    """A registry that knows only id 1, and counts the look-ups."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> Reply:
        self.ids.append(int(request.path.rpartition("/")[2]))
        return (200, {"schema": TRANSACTION}) if self.ids[-1] == 1 else UNKNOWN


def test_the_live_input_has_the_budget_of_look_ups() -> None:
    for partition, good in ((0, 1), (1, 0)):
        asked = Asked()
        with answering(asked) as url:
            work = profiler(url, {})
            result = work.compute(records(partition), Stages())
            committed = work.keep(result, Stages(), records(partition))
        assert 0 < len(asked.ids) <= 1 + BURST
        assert committed.rejected["UNKNOWN_SCHEMA"] == 300
        assert len(work.pending) == good


def test_a_replay_has_no_budget() -> None:
    asked = Asked()
    with answering(asked) as url:
        work = profiler(url, {0: NOTE}, Replay(records(0)))
        work.assigned({0: 301})
        assert work.restore() == {0}
    assert {1, *range(100, 400)} == set(asked.ids)
    assert len(work.pending) == 1
