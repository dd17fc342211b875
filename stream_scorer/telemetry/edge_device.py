"""Events of a device that decides offline."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

_SECTION = "A device does not upload"


@dataclass(frozen=True, slots=True)
class DeviceObserved(Event):
    """A device has looked at itself.

    Attributes:
        release: ``NAME:VERSION`` that decides.
        content_hash: The bundle's content hash, in hex.
        rows: Rows that wait for their upload.
        size: Their bytes.
        oldest_seconds: Age of the oldest of them; 0 without one.
        log_bytes: Bytes of the log.
        terminals_age_seconds: Age of the history of terminals; None: it is not used.
        upload: Why rows are not uploaded; empty: they are, or need not be.
    """

    release: str
    content_hash: str
    rows: int
    size: int
    oldest_seconds: float
    log_bytes: int
    terminals_age_seconds: float | None
    upload: str

    ROWS = Gauge("edge_outbox_rows", "Rows of this device that wait for their upload.")
    BYTES = Gauge("edge_outbox_bytes", "Bytes of the rows that wait for their upload.")
    OLDEST = Gauge("edge_oldest_seconds", "Age of the oldest row that waits for its upload.")
    LOG = Gauge("edge_log_bytes", "Bytes of this device's log.")
    TERMINALS = Gauge(
        "edge_terminals_age_seconds", "Age of this device's history of terminals, if it is used."
    )
    RELEASE = Gauge(
        "edge_release_info", "1 for the release that this device decides with.",
        "release", "content_hash",
    )  # fmt: skip
    LINE = Line("edge_not_uploaded", _SECTION, fields=("rows", "oldest_seconds", "upload"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ROWS, self.rows
        yield self.BYTES, self.size
        yield self.OLDEST, self.oldest_seconds
        yield self.LOG, self.log_bytes
        yield self.TERMINALS, self.terminals_age_seconds
        yield self.RELEASE, 1, self.release, self.content_hash[:16]
        if self.upload:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class DeviceUpdated(Event):
    """A device has taken another release, or an update was refused.

    Attributes:
        kind: Why it was refused, a short name; empty: it was taken.
        detail: The release, or a sentence.
    """

    kind: str
    detail: str

    UPDATES = Counter("edge_updates", "Releases that this device has taken.")
    ERRORS = Counter("edge_update_errors", "Updates that this device has refused.", "kind")
    LINE = Line("edge_update_refused", "A device refuses an update", per=("kind",))

    def effects(self, history: History) -> Iterable[Effect]:
        if not self.kind:
            yield self.UPDATES, 1
            return
        yield self.ERRORS, 1, self.kind
        yield self.LINE
