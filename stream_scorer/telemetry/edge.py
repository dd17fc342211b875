"""Events of devices: their rows in a scorer and where they are published, and a device itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, Histogram, History, Line

_HASH_SHOWN = 16
_SECTION = "Devices are refused, or differ from the scorer"


@dataclass(frozen=True, slots=True)
class EdgeRowsJudged(Event):
    """A committed batch had rows that claim a device's decision.

    Attributes:
        accepted: Rows whose decision was published.
        refused: Rows that became dead letters, by detail.
        differed: Accepted rows for which the scorer would have decided otherwise, by the device's
            outcome and the scorer's.
        central_failed: Accepted rows for which the scorer's model failed.
    """

    accepted: int
    refused: Mapping[str, int]
    differed: Mapping[tuple[str, str], int]
    central_failed: int

    ACCEPTED = Counter("edge_accepted", "Devices' decisions that were published.")
    REJECTED = Counter(
        "edge_rejected", "Records with a device's decision that became dead letters.", "reason"
    )
    DIVERGED = Counter(
        "edge_diverged",
        "Devices' decisions for which the scorer would have decided otherwise.",
        "device_outcome", "central_outcome",
    )  # fmt: skip
    FAILED = Counter(
        "edge_central_failed", "Devices' decisions for which the scorer's model failed."
    )
    LINE = Line("edge_rows_refused", _SECTION, fields=("refused",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ACCEPTED, self.accepted
        for reason, rows in self.refused.items():
            yield self.REJECTED, rows, reason
        for (device, central), rows in self.differed.items():
            yield self.DIVERGED, rows, device, central
        if self.central_failed:
            yield self.FAILED, self.central_failed
        if self.refused:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class EdgeUploaded(Event):
    """A device's upload was published, or refused.

    Attributes:
        result: ``published``, ``repeated``, ``gap``, ``fork``, ``order``, ``large``, ``revoked``,
            ``signature``, ``unknown``, ``other_device`` or ``unavailable``.
        rows: Its rows with this result.
        seconds: How long it took; None: it was refused before anything was done.
        producers: Devices whose producers are open.
    """

    result: str
    rows: int
    seconds: float | None
    producers: int

    ROWS = Counter(
        "edge_rows",
        "Rows of devices' uploads, by result.",
        "result",
        begin=(
            "published", "repeated", "gap", "fork", "revoked", "signature", "unknown",
            "other_device",
        ),
    )  # fmt: skip
    SECONDS = Histogram(
        "edge_publish_seconds",
        "Time to publish an upload.",
        bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    )
    PRODUCERS = Gauge("edge_producers", "Devices whose Kafka producers are open.")
    LINE = Line("edge_upload_refused", _SECTION, fields=("result", "rows"), per=("result",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ROWS, self.rows, self.result
        if self.seconds is not None:
            yield self.SECONDS, self.seconds
        yield self.PRODUCERS, self.producers
        if self.result not in {"published", "repeated"}:
            yield self.LINE


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
    LINE = Line(
        "edge_not_uploaded", "A device does not upload", fields=("rows", "oldest_seconds", "upload")
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ROWS, self.rows
        yield self.BYTES, self.size
        yield self.OLDEST, self.oldest_seconds
        yield self.LOG, self.log_bytes
        if self.terminals_age_seconds is not None:
            yield self.TERMINALS, self.terminals_age_seconds
        release = self.release, self.content_hash[:_HASH_SHOWN]
        before = history.device_release
        if before is not None and before != release:
            yield self.RELEASE, None, *before
        history.device_release = release
        yield self.RELEASE, 1, *release
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
