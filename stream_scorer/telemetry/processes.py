"""Events of processes: their dependencies, their own topics, their workers, their end."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream_scorer.readings.scraped import REQUEST_BOUNDS
from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, Histogram, History, Line

_PAUSED = "Not ready: paused: registry"


@dataclass(frozen=True, slots=True)
class DependencyUnavailable(Event):
    """A registry or broker cannot be reached; the process is paused and retries."""

    name: str
    detail: str

    UP = Gauge(
        "dependency_up", "1 while the dependency answers, 0 while it does not.", "dependency"
    )
    LINE = Line("dependency_unavailable", _PAUSED, "error", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.UP, 0, self.name
        if self.name not in history.unavailable:
            history.unavailable.add(self.name)
            yield self.LINE


@dataclass(frozen=True, slots=True)
class DependencyBack(Event):
    """A dependency that was unavailable answers again."""

    name: str

    LINE = Line("dependency_back", _PAUSED, "info", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        yield DependencyUnavailable.UP, 1, self.name
        if self.name in history.unavailable:
            history.unavailable.discard(self.name)
            yield self.LINE


@dataclass(frozen=True, slots=True)
class RecordsSkipped(Event):
    """Records of one of our topics were skipped: not of its family, or over its limits.

    For ``transactions``: a restore left out records, because the registry does not have their
    schema now.

    Attributes:
        topic: Its name in ``kafka.topics``.
        records: How many.
        partition: Of the first of them.
        offset: Of the first of them.
        why: What is wrong with the first of them.
    """

    topic: str
    records: int
    partition: int
    offset: int
    why: str

    SKIPPED = Counter(
        "own_records_skipped",
        "Records of a topic of ours that are not of its family, or over its limits.",
        "topic",
    )
    LINE = Line("records_skipped", "Records of our own topics are skipped", per=("topic",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.SKIPPED, self.records, self.topic
        yield self.LINE


@dataclass(frozen=True, slots=True)
class ProcessBegan(Event):
    """A process began.

    Attributes:
        process: Its kind: scorer, monitor, ...
        version: Of this package.
        group: Its consumer group.
        instance: Its stable name.
        settings: The first characters of the sha256 of its settings, without secrets.
        python: Version of Python.
        librdkafka: Version of librdkafka.
    """

    process: str
    version: str
    group: str
    instance: str
    settings: str
    python: str
    librdkafka: str

    BUILD = Gauge(
        "build_info",
        "1 for the process's kind, version, group, settings and libraries.",
        "process",
        "version",
        "group",
        "settings",
        "python",
        "librdkafka",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield (
            self.BUILD, 1, self.process, self.version, self.group, self.settings, self.python,
            self.librdkafka,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CertificateSeen(Event):
    """A certificate of the process; ``observability.process_metrics`` shows its end."""

    EXPIRES = Gauge(
        "certificate_expires_time_seconds",
        "When a certificate of the process expires, seconds since the epoch.",
        "file",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: the file is read at each scrape."""
        return ()


@dataclass(frozen=True, slots=True)
class DiskSeen(Event):
    """A folder in which the process writes; ``observability.process_metrics`` shows its disk."""

    FREE = Gauge("disk_free_bytes", "Free bytes on the disk of a folder that is written.", "path")
    SIZE = Gauge("disk_size_bytes", "Size of the disk of a folder that is written.", "path")

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: the disk is looked at in each scrape."""
        return ()


@dataclass(frozen=True, slots=True)
class RequestTimed(Event):
    """A request to another service; ``observability.request_metrics`` shows how long they took."""

    SECONDS = Histogram(
        "service_request_seconds",
        "Duration of requests to the schema registry and to the checkpoint store.",
        "service",
        "operation",
        bounds=REQUEST_BOUNDS,
    )

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: the counts are read at each scrape."""
        return ()


@dataclass(frozen=True, slots=True)
class ClientReported(Event):
    """Statistics of a Kafka client; ``observability.request_metrics`` shows the newest."""

    ROUND_TRIP = Gauge(
        "kafka_round_trip_seconds",
        "Time from a request to its answer, by broker, in the last kafka.statistics_seconds.",
        "type",
        "client",
        "broker",
        "share",
    )
    THROTTLE = Gauge(
        "kafka_throttle_seconds",
        "Longest time for which a broker throttled the client, in the last "
        "kafka.statistics_seconds.",
        "type",
        "client",
        "broker",
    )
    REQUESTS = Gauge(
        "kafka_requests_waiting",
        "Requests that wait to be sent or answered, by broker.",
        "type",
        "client",
        "broker",
    )
    QUEUE = Gauge(
        "kafka_queue_records",
        "Records in the client's queues: produced and not sent, or fetched and not read.",
        "type",
        "client",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: the reports are read at each scrape."""
        return ()


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A supervisor started the process of a worker."""

    worker: int
    pid: int

    UP = Gauge("worker_up", "1 while the worker's process runs.", "worker")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.UP, 1, self.worker


@dataclass(frozen=True, slots=True)
class WorkerLeft(Event):
    """A worker exited without being asked to.

    Attributes:
        worker: Its number.
        cause: ``exit 1``, ``SIGKILL`` and the like.
        again_seconds: Delay before its restart; None: it is not restarted, and the others end too.
    """

    worker: int
    cause: str
    again_seconds: float | None

    EXITS = Counter(
        "worker_exits", "Workers that left unasked, by what ended them.", "worker", "cause"
    )
    LINE = Line(
        "worker_left",
        "A worker left",
        "error",
        fields=("worker", "cause", "again_in_seconds"),
        limited=False,
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield WorkerStarted.UP, 0, self.worker
        yield self.EXITS, 1, self.worker, self.cause
        yield self.LINE.given(again_in_seconds=self.again_seconds)


@dataclass(frozen=True, slots=True)
class Stopping(Event):
    """The process was asked to stop and is finishing its batch."""

    cause: str

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: being stopped is normal, and the end of the scrape shows it."""
        return ()
