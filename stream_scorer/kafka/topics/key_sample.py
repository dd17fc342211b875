"""Samples keys: whether they match the customer, and each customer is in one partition.

Otherwise a customer's history is split between partitions, and each part is too short.
"""

from collections.abc import Callable, Sequence

import numpy as np

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import KeyRule, mapping_in
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.topics.partitioner import misplaced
from stream_scorer.ports import RawRecords
from stream_scorer.telemetry import KeyMisplaced, KeyOfAnother, Listener

_SAMPLE_EVERY = 64
_REMEMBERED = 1_024
"""Number of customers whose partition is remembered, if the key does not determine it."""


class KeySample:
    """Takes one key of each batch, and judges several together.

    Args:
        listener: Notified how many of the sampled keys are in the wrong partition, and how many
            name another customer than the record's value.
        customers_of: Reads the customers from keys by a plan; see ``codec.records.record_key``.
    """

    def __init__(
        self,
        listener: Listener,
        customers_of: Callable[[Sequence[bytes | None], Plan], Sequence[str | None]],
    ) -> None:
        self._listener = listener
        self._customers_of = customers_of
        self._rule = KeyRule()
        self._places: CustomerPartitions | None = None
        self._keys: list[bytes | None] = []
        self._customers: list[str] = []
        self._partitions: list[int] = []

    def take(
        self, raw: RawRecords, decoded: Sequence[EventBatch], partitions: int, plan: Plan
    ) -> None:
        """Sample a batch of an input.

        Args:
            raw: The batch.
            decoded: Its transactions, in one or more parts.
            partitions: Number of partitions of the input.
            plan: Determines how the key contains the customer. If the key is the customer's id, its
                hash gives the partition; otherwise the partitions of some customers are compared.
        """
        rule = mapping_in(plan.events).key
        if rule != self._rule:
            self._rule = rule
            self._places = None if rule.kind == "raw" else CustomerPartitions(_REMEMBERED)
            self._keys, self._customers, self._partitions = [], [], []
        for events in decoded:
            if self._places is not None:
                self._places.take(events)
        last = next((events for events in reversed(decoded) if len(events)), None)
        if last is not None:
            partition, offset = int(last.partition[-1]), int(last.offset[-1])
            (row,) = np.flatnonzero((raw.partition == partition) & (raw.offset == offset)).tolist()
            self._keys.append(raw.keys[row])
            self._customers.append(last.records.column("customer_id")[-1].as_py())
            self._partitions.append(partition)
        if len(self._keys) >= _SAMPLE_EVERY:
            self._judge(partitions, plan)

    def _judge(self, partitions: int, plan: Plan) -> None:
        keys, customers, places = self._keys, self._customers, self._partitions
        self._keys, self._customers, self._partitions = [], [], []
        if self._places is None:
            known = [
                (key, at) for key, at in zip(keys, places, strict=True) if key is not None
            ]  # fmt: skip
            self._listener(KeyMisplaced(len(known), misplaced(known, partitions)))
        else:
            self._listener(KeyMisplaced(*self._places.counted()))
        try:
            found = self._customers_of(keys, plan)
        except RegistryUnavailableError:
            return  # the next sample is judged
        others = sum(one != other for one, other in zip(found, customers, strict=True))
        self._listener(KeyOfAnother(len(keys), others))


class CustomerPartitions:
    """Remembers the partitions of some customers, and counts their events in other partitions.

    Args:
        most: Maximum number of customers.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._customers = np.empty(0, np.uint64)
        self._partition = np.empty(0, np.int32)
        self._seen = 0
        self._elsewhere = 0

    def take(self, events: EventBatch) -> None:
        """Compare the events of remembered customers; remember the last event's customer."""
        if not len(events):
            return
        hashes = events.hashes("customer_id")
        at = np.searchsorted(self._customers, hashes)
        known = np.flatnonzero(at < len(self._customers))
        known = known[self._customers[at[known]] == hashes[known]]
        self._seen += len(known)
        self._elsewhere += int((self._partition[at[known]] != events.partition[known]).sum())
        last = len(events) - 1
        if len(self._customers) < self._most and (not len(known) or known[-1] != last):
            self._customers = np.insert(self._customers, at[last], hashes[last])
            self._partition = np.insert(self._partition, at[last], events.partition[last])

    def counted(self) -> tuple[int, int]:
        """Return (events compared, those in another partition) since the last call."""
        counts = self._seen, self._elsewhere
        self._seen = self._elsewhere = 0
        return counts
