"""Continuous reconciliation: each input record has exactly one output, checked from outside."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stream_scorer.clocks import machine_seconds, steady_epoch_seconds
from stream_scorer.errors import UnavailableError
from stream_scorer.lag.accounts.balance import CommittedRanges, balance
from stream_scorer.lag.accounts.ledger import (
    OFFSETS_MOST,
    Int64,
    OutputKind,
    PartitionLedger,
    Run,
    SettledOffsets,
)
from stream_scorer.lag.watch.watch_thread import WatchThread
from stream_scorer.telemetry import (
    LagFailed,
    Listener,
    OutputsUnreadable,
    RecordsReconciled,
    WatermarkSeen,
)

_READ_SECONDS = 0.5
_AGAIN_SECONDS = 10.0
"""After this time a step that failed is repeated, or the count begins anew."""
_TOO_MANY = (
    f"reconciliation: too many outputs wait, more than {OFFSETS_MOST:,} of a partition; the "
    "comparison begins again at the input's end"
)


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Outputs that were read.

    Attributes:
        offsets: Offsets of their input records, by kind and input partition.
        commits: Transactions of scorers.
        watermarks: Newest event time by input partition, seconds since the epoch.
        unreadable: Records that are not readable outputs.
    """

    offsets: Mapping[tuple[OutputKind, int], Int64] = field(default_factory=dict)
    commits: Sequence[CommittedRanges] = ()
    watermarks: Mapping[int, float] = field(default_factory=dict)
    unreadable: int = 0


class Outputs(Protocol):
    """What brings the outputs: a :class:`~stream_scorer.lag.watch.output_reader.OutputReader`.

    After an ``UnavailableError`` a call can be repeated, and nothing is left out. Other errors mean
    that the positions are not valid any more.
    """

    def begin(self) -> Mapping[int, int]: ...  # noqa: D102 see there
    def read(self, seconds: float) -> OutputPiece: ...  # noqa: D102
    def committed(self) -> Mapping[int, int]: ...  # noqa: D102
    def mark(self) -> None: ...  # noqa: D102
    def reached(self) -> bool: ...  # noqa: D102
    def records(self, runs: Mapping[int, Sequence[Run]]) -> Mapping[int, Int64]: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Reconciliation:
    """Compares outputs with the input's offsets, in rounds.

    A round has three steps: read the group's committed offsets; read the ends of the outputs; read
    the outputs, committed ones only, to these ends. An output is published before its input's
    offset is committed, so after the third step every output of the first step's offsets was seen.
    No waiting time is guessed, and a slow reading is late, but not wrong.

    Counting begins at the input's end: what is appended later has its output later. In a partition
    in which the group has committed nothing yet, it begins at the first record that it takes.

    Args:
        outputs: Brings the outputs.
        group: The scorers' group, for the labels.
        topic: Their input.
        listener: Notified of every round.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        outputs: Outputs,
        group: str,
        topic: str,
        listener: Listener,
        clock: Callable[[], float] = steady_epoch_seconds,
    ) -> None:
        self._outputs = outputs
        self._labels = group, topic
        self._listener = listener
        self._clock = clock
        self._ledgers: dict[int, PartitionLedger] = {}
        self._doubled: dict[int, int] = {}
        self._unstarted: set[int] = set()
        self._commits: list[CommittedRanges] = []
        self._ends: Mapping[int, int] | None = None
        self._settled: dict[int, SettledOffsets] | None = None

    def begin(self) -> None:
        """Begin to count at the input's end.

        Raises:
            StreamScorerError: A topic or the brokers do not answer.
        """
        self._ends = self._settled = None
        self._commits.clear()
        begins = self._outputs.begin()
        self._unstarted = begins.keys() - self._outputs.committed().keys()
        self._ledgers = {partition: PartitionLedger(at) for partition, at in begins.items()}
        self._doubled = dict.fromkeys(begins, 0)
        for partition in begins:
            self._listener(RecordsReconciled(*self._labels, partition))

    def read(self, seconds: float = _READ_SECONDS) -> None:
        """Read what has arrived, and note it.

        Args:
            seconds: How long to wait for it.
        """
        piece = self._outputs.read(seconds)
        for commit in piece.commits:
            self._note_commit(commit)
        for (kind, partition), offsets in piece.offsets.items():
            self._ledger(partition).note(offsets, kind)
        for partition, seen in piece.watermarks.items():
            self._listener(WatermarkSeen(*self._labels, partition, seen))
        if piece.unreadable:
            self._listener(OutputsUnreadable(piece.unreadable))

    @property
    def open(self) -> bool:
        """Whether a round has begun and not ended."""
        return self._ends is not None

    def begin_round(self) -> None:
        """Read what is to be settled next."""
        ends = self._outputs.committed()
        self._outputs.mark()
        self._ends = ends

    def end_round(self) -> bool:
        """Settle the round if all its outputs were read, and report it.

        Too many outputs are not noted, and their records would count as missing. So the round in
        which that happens is dropped, and the count begins again.

        Returns:
            Whether it was settled.
        """
        if self._ends is None or not self._outputs.reached():
            return False
        ends = self._ends
        for partition in self._unstarted & ends.keys():
            # The group sets its first offset before its first record.
            self._unstarted.discard(partition)
            self._ledger(partition).begin_at(ends[partition])
        if self._settled is None:
            self._settled = {
                partition: self._ledger(partition).settle(end) for partition, end in ends.items()
            }
        if any(ledger.overflowed for ledger in self._ledgers.values()):
            self._listener(LagFailed(_TOO_MANY, "reconciliation"))
            self.begin()
            return False
        whole = [each for each in self._commits if self._is_settled(each)]
        balances, left = balance(self._settled, whole, self._outputs.records)
        self._commits = [each for each in self._commits if not self._is_settled(each)]
        self._settled = self._ends = None
        for partition, found in balances.items():
            ledger = self._ledgers[partition]
            doubled = ledger.doubled - self._doubled.get(partition, 0)
            self._doubled[partition] = ledger.doubled
            self._listener(
                RecordsReconciled(
                    *self._labels, partition, found.decided, found.rejected, found.skipped,
                    found.gaps, found.missing, doubled + left, ledger.done,
                )
            )  # fmt: skip
            left = 0
        # Also of a group that has committed nothing yet, and so has no partition.
        self._listener(RecordsReconciled(*self._labels, None, time=machine_seconds(self._clock())))
        return True

    def _note_commit(self, commit: CommittedRanges) -> None:
        """Keep the ranges with skips that count; one in which the count begins is left out."""
        ranges: dict[int, Run] = {}
        for partition, (first, after) in commit.ranges.items():
            ledger = self._ledger(partition)
            if partition in self._unstarted:
                self._unstarted.discard(partition)
                ledger.begin_at(first)
            if first < ledger.began:
                ledger.begin_at(after)  # its skips cannot be divided
            else:
                ranges[partition] = first, after
        if ranges and commit.skipped:
            exact = len(ranges) == len(commit.ranges)
            self._commits.append(CommittedRanges(ranges, commit.skipped, exact=exact))

    def _ledger(self, partition: int) -> PartitionLedger:
        found = self._ledgers.get(partition)
        if found is None:
            # A partition that was added has had no record before. Its counts begin at 0, so that
            # a first one increases them.
            found = self._ledgers[partition] = PartitionLedger(0)
            self._listener(RecordsReconciled(*self._labels, partition))
        return found

    def _is_settled(self, commit: CommittedRanges) -> bool:
        return all(
            after <= self._ledger(partition).done for partition, (_, after) in commit.ranges.items()
        )


class ReconciliationWatch(WatchThread):
    """Reconciles on a thread of its own until closed.

    While brokers or registry do not answer, the count waits; it begins anew after other errors.

    Args:
        outputs: Brings the outputs.
        group: The scorers' group.
        topic: Their input.
        listener: Notified of every round.
        every_seconds: Time between two rounds.
    """

    def __init__(
        self, outputs: Outputs, group: str, topic: str, listener: Listener, every_seconds: float
    ) -> None:
        super().__init__("reconciliation", "reconciliation", listener, _AGAIN_SECONDS)
        self._outputs = outputs
        self._round_seconds = every_seconds
        self._due = 0.0
        self._reconciliation = Reconciliation(outputs, group, topic, listener)

    def _release(self) -> None:
        self._outputs.close()

    def _work(self) -> None:
        self._reconciliation.begin()
        self._due = time.monotonic() + self._round_seconds
        while not self._stop.is_set():
            try:
                self._step()
            except UnavailableError as error:
                self._report(error)
                self._stop.wait(self._every_seconds)

    def _step(self) -> None:
        self._reconciliation.read()
        if self._reconciliation.open:
            self._reconciliation.end_round()
        elif time.monotonic() >= self._due:
            self._reconciliation.begin_round()
            self._due = max(self._due + self._round_seconds, time.monotonic())
