"""A cluster that knows transactional ids, epochs, and what was committed: for publishers."""

from collections.abc import Callable
from dataclasses import dataclass, field

from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.errors import FencedError
from stream_scorer.kafka.loop.producer import CommitUncertain
from stream_scorer.ports import EDGE_SEQUENCE, BytesColumn, Outgoing, TransactionAborted

PROGRESS = "edge-progress"


@dataclass
class FakeCluster:
    """What is committed, and the epoch of each device's transactional id."""

    published: list[tuple[str, int]] = field(default_factory=list)
    progress: dict[str, EdgeProgress] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    closed: int = 0

    def newest(self, device: str) -> EdgeProgress:
        """Return a device's committed progress."""
        return self.progress.get(device, EdgeProgress())

    def outgoing(self, device: str, progress: EdgeProgress, rows: int) -> Outgoing:
        """Return a record that the fake producer understands."""
        del rows
        value = progress.sequence.to_bytes(8, "big") + progress.chain
        return Outgoing(PROGRESS, BytesColumn.of([value]), BytesColumn.of([device.encode()]))

    def producer(self, device: str) -> "FakeDeviceProducer":
        """Open a device's producer; it fences the one before."""
        return FakeDeviceProducer(self, device)

    def sequences(self, device: str) -> list[int]:
        """Return the published rows of a device, in order."""
        return [number for name, number in self.published if name == device]


@dataclass
class FakeDeviceProducer:
    """A transactional producer of a device.

    Attributes:
        uncertain: How the next commit ends without an answer: ``before``, ``after``; empty: not.
        aborts: Why the next ``send`` aborts; None: it does not.
        own_doing: Whether it takes another process's fencing for its own late request, once.
    """

    cluster: FakeCluster
    device: str
    births: int = 0
    epoch: int = 0
    uncertain: str = ""
    aborts: TransactionAborted | None = None
    own_doing: bool = False
    sent: list[Outgoing] | None = None
    broken: bool = False
    before_commit: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self._birth()

    def _birth(self) -> None:
        self.epoch = self.cluster.epochs[self.device] = self.cluster.epochs.get(self.device, 0) + 1
        self.births += 1
        self.sent = None

    def _refuse_fenced(self) -> None:
        if self.cluster.epochs[self.device] != self.epoch:
            raise FencedError(f"device {self.device}: taken over")

    def begin(self, stop: Callable[[], bool]) -> None:
        """Open a transaction, after a birth if it has to be."""
        del stop
        if self.broken or (self.own_doing and self.cluster.epochs[self.device] != self.epoch):
            self.broken = self.own_doing = False
            self._birth()
        self._refuse_fenced()
        assert self.sent is None, "a transaction is open"
        self.sent = []

    def send(self, outgoing: Outgoing) -> None:
        """Keep records until the commit."""
        self._refuse_fenced()
        assert self.sent is not None
        if self.aborts is not None:
            error, self.aborts = self.aborts, None
            self.broken, self.sent = True, None
            raise error
        self.sent.append(outgoing)

    def commit(self) -> None:
        """Commit, unless something else was asked for."""
        self.before_commit()
        self._refuse_fenced()
        assert self.sent is not None
        how, self.uncertain = self.uncertain, ""
        if how == "before":
            raise CommitUncertain("no answer")
        records, progress = self.sent
        for headers in records.headers or ():
            number = dict(headers or ())[EDGE_SEQUENCE]
            self.cluster.published.append((self.device, int(number or b"0")))
        value = progress.values[0] or b""
        self.cluster.progress[self.device] = EdgeProgress(
            int.from_bytes(value[:8], "big"), value[8:]
        )
        if how == "after":
            raise CommitUncertain("no answer")
        self.sent = None

    def rebirth(self, cause: str, stop: Callable[[], bool]) -> None:
        """Raise the epoch: the open transaction is settled."""
        del cause, stop
        self._birth()

    def abort_open(self) -> None:
        """Abort the open transaction."""
        self.sent, self.broken = None, True

    def close(self) -> None:
        """Count it."""
        self.cluster.closed += 1
