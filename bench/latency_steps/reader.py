"""An independent ``read_committed`` reader that notes when it got each decision."""

import time

import numpy as np

from bench.harness.arena import Arena
from bench.latency_steps.stages import Logged, row_number
from bench.latency_steps.traffic import FIRST_OF_HISTORY
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn, Float64

_MOST = 100_000
_WAIT_SECONDS = 0.1


class Reader:
    """Reads a topic as columns, from its beginning.

    Args:
        arena: Where.
        topic: The decisions, or what takes their place.
    """

    def __init__(self, arena: Arena, topic: str) -> None:
        options = client_options.reader(arena.settings.kafka, f"{topic}-reader")
        self._consumer = ColumnConsumer(options | {"enable.partition.eof": False}, topic)
        self._consumer.assign(dict.fromkeys(range(arena.partitions), 0))
        self._taken: list[tuple[float, BytesColumn]] = []
        self.count = 0

    def read(self, count: int, deadline: float) -> bool:
        """Read until ``count`` records have come; return whether that was by the deadline."""
        while self.count < count:
            polled = self._consumer.poll(_MOST, _WAIT_SECONDS, 0.0)
            now = time.time()
            if polled.failures:
                raise SystemExit(f"reader: {polled.failures[0].error.str()}")
            if polled.records is not None:
                self._taken.append((now, polled.records.values))
                self.count += len(polled.records)
            if now > deadline and self.count < count:
                return False
        return True

    def leave(self) -> None:
        """Leave, whatever was read."""
        self._consumer.close()

    def by_transaction(self) -> dict[str, float]:
        """Return when each decision came first, seconds since the epoch, by transaction id."""
        seen: dict[str, float] = {}
        for at, values in self._taken:
            for value in values.to_list():
                number = row_number(value)
                if number is not None:
                    seen.setdefault(str(number), at)
        return seen

    def close(self, count: int) -> Float64:
        """Leave; return float64[count], when each transaction's decision came.

        Raises:
            SystemExit: One of the schedule came twice, or did not come.
        """
        self._consumer.close()
        seen = np.full(count, np.nan)
        strange = 0
        for at, values in self._taken:
            for value in values.to_list():
                number = row_number(value)
                if number is None or count <= number < FIRST_OF_HISTORY:
                    strange += 1
                elif number < count:
                    strange += not np.isnan(seen[number])
                    seen[number] = at
        missing = int(np.isnan(seen).sum())
        if missing or strange:
            raise SystemExit(f"{count} transactions: {missing} missing, {strange} unexpected")
        return seen


def logged(arena: Arena, source: str, count: int) -> Logged:
    """Return where the broker put each transaction, and when; the topic carries its times."""
    partition, offset = np.full(count, -1), np.full(count, -1)
    appended = np.full(count, np.nan)
    for message in arena.outputs(source):
        number = row_number(message.value() or b"")
        if number is not None and number < count:
            partition[number], offset[number] = message.partition(), message.offset()
            appended[number] = message.timestamp()[1] / 1_000
    if (offset < 0).any():
        raise SystemExit(f"{source}: {int((offset < 0).sum())} transactions are missing")
    return Logged(partition, offset, appended)
