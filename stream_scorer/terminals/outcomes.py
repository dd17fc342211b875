"""What scorers decided, as the profiler needs it: which transactions were blocked, and how far.

The decisions are a side input: they are not merged with transactions and labels. A row that waits
for its outcome stands before the decisions that release it, since these are written later, so a
merge could stand still. An outcome is an attribute of its row and needs no order.

A row's outcome is known if its offset is before the scorers' committed offset. That is asked in
this order: the committed offsets, then the ends of the decisions and of the activations, open
transactions included; the offsets count once both topics are read to these ends. A transaction's
end becomes visible partition by partition, so an offset may be visible before its decisions.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.ports import Int64, Paused, RawRecords
from stream_scorer.registry.sources import narrowed
from stream_scorer.terminals.label_policies import LabelPolicies

Bool = NDArray[np.bool_]

_RECORDS: Final = 20_000
_TURN_SECONDS: Final = 0.5
_ASK_SECONDS: Final = 0.2
"""How long to wait between two questions for the committed offsets, seconds."""
_LEAST_ROOM: Final = 1_000
_FIELDS: Final = ("source_topic", "source_partition", "source_offset", "decision")


class DecisionRecords(Protocol):
    """Reads the topic of decisions; implemented by ``TopicFollower``."""

    @property
    def left(self) -> int:
        """Number of offsets before the noted end."""
        ...

    def mark_end(self, *, stable: bool = True) -> None:
        """Note the topic's current end."""
        ...

    def poll(self, maximum: int, wait: float) -> RawRecords | None:
        """Return some records, or None if there are none for ``wait`` seconds."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def outcome_schema(decision: str) -> str:
    """Return a schema with the fields of a decision that are read here."""
    return narrowed(decision, _FIELDS.__contains__)


class DecidedOutcomes:
    """The outcomes of transactions, as far as scorers have decided them.

    Args:
        decisions: Reads the decisions.
        decoder: Decodes them; see :func:`outcome_schema`.
        topic: The transactions' topic.
        partitions: How many partitions it has.
        committed: Returns the scorers' committed offsets by partition.
        label_policies: The label policies of all revisions.
        clock: Seconds that only grow.
    """

    def __init__(
        self, decisions: DecisionRecords, decoder: ColumnDecoder, topic: str, partitions: int,
        committed: Callable[[list[int]], Mapping[int, int]], label_policies: LabelPolicies,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._decisions = decisions
        self._decoder = decoder
        self._topic = topic
        self._committed = committed
        self._policies = label_policies
        self._clock = clock
        self._known = np.zeros(partitions, np.int64)
        self._asked: Int64 | None = None
        self._next = float("-inf")
        self._blocked: list[set[int]] = [set() for _ in range(partitions)]
        self._room = [_LEAST_ROOM] * partitions
        self._polled: RawRecords | None = None

    @property
    def known(self) -> Int64:
        """int64[p]: outcomes before these offsets are known."""
        return self._known

    def blocked(self, partition: NDArray[np.int32], offset: Int64) -> Bool:
        """Return bool[n]: whether transactions were blocked."""
        found = np.zeros(len(partition), np.bool_)
        for number in np.unique(partition).tolist():
            mine = np.flatnonzero(partition == number)
            blocked = self._blocked[number]
            if blocked:
                found[mine] = [at in blocked for at in offset[mine].tolist()]
        return found

    def policies(
        self, partition: NDArray[np.int32], offset: Int64
    ) -> Sequence[tuple[LabelPolicy, int, Int64]]:
        """Return (policy, revision, int64[k]): the rows that each policy settles; each row once."""
        return self._policies.split(partition, offset)

    def forget(self, first: Int64) -> None:
        """Forget outcomes before these offsets: int64[p]."""
        for number, offset in enumerate(first.tolist()):
            blocked = self._blocked[number]
            # Seldom, so that it does not search all of them for each batch.
            if len(blocked) > self._room[number]:
                self._blocked[number] = kept = {at for at in blocked if at >= offset}
                self._room[number] = max(_LEAST_ROOM, 2 * len(kept))

    def follow(self) -> None:
        """Read the decisions that have arrived, for a moment.

        Raises:
            Paused: The registry or the broker is unavailable.
        """
        until = self._clock() + _TURN_SECONDS
        while self._step(0.0) and self._clock() < until:
            pass

    def refresh(self, wait: float) -> bool:
        """Read on, and return whether more outcomes are known now.

        Args:
            wait: How long to wait for a record, seconds.

        Raises:
            Paused: The registry or the broker is unavailable.
        """
        try:
            if self._asked is None and self._clock() >= self._next:
                self._next = self._clock() + _ASK_SECONDS
                found = self._committed(list(range(len(self._known))))
                asked = self._known.copy()
                for partition, offset in found.items():
                    asked[partition] = max(asked[partition], offset)
                if (asked == self._known).all():
                    return False
                self._decisions.mark_end(stable=False)
                self._policies.mark_end()
                self._asked = asked
            if self._asked is None:
                return False
            if self._decisions.left:
                self._step(wait)
            if self._decisions.left or not self._policies.read():
                return False
        except UnavailableError as error:
            raise Paused(
                "registry" if isinstance(error, RegistryUnavailableError) else "kafka", str(error)
            ) from error
        self._known, self._asked = self._asked, None
        return True

    def close(self) -> None:
        """Close the connection."""
        self._decisions.close()

    def _step(self, wait: float) -> bool:
        """Read some decisions; what was polled before a failure is taken first."""
        try:
            if self._polled is None:
                self._polled = self._decisions.poll(_RECORDS, wait)
            if self._polled is None:
                return False
            self._take(self._polled)
            self._polled = None
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        return True

    def _take(self, raw: RawRecords) -> None:
        records = self._decoder.decode(raw.values).records
        if not len(records):
            return
        decision = records.column("decision").to_numpy(zero_copy_only=False)
        topic = records.column("source_topic").to_numpy(zero_copy_only=False)
        mine = (decision == Outcome.BLOCK.name) & (topic == self._topic)
        partition = np.asarray(records.column("source_partition"), np.int64)[mine]
        offset = np.asarray(records.column("source_offset"), np.int64)[mine]
        for number, at in zip(partition.tolist(), offset.tolist(), strict=True):
            if 0 <= number < len(self._blocked):
                self._blocked[number].add(at)
