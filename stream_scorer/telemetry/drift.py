"""Events of the monitor: windows, alarms, commands, snapshots, and the sinks of alarms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line


@dataclass(frozen=True, slots=True)
class DriftDetected(Event):
    """An alarm was opened: a stream changed, or the input has a fault.

    Attributes:
        detector: Name of the detector or of the rule.
        signal: ``score``, ``outcome``, ``amount``, ``feature``, ``segment``, ``fleet``, ``fault``.
    """

    detector: str
    signal: str

    DRIFT = Counter("drift_events", "Changes that a drift detector reported.", "detector", "signal")
    LINE = Line("drift_detected", "Drift is reported", per=("detector", "signal"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.DRIFT, 1, self.detector, self.signal
        yield self.LINE


@dataclass(frozen=True, slots=True)
class DriftWatched(Event):
    """The monitor restored its state, committed a batch of summaries, or gave its partition away.

    Attributes:
        open: Open episodes by severity.
        streams: Streams by state: ``watched``, ``learning`` or ``alarmed``; versions without any by
            ``no_reference``.
        closed: Windows that the batch closed.
        untiled: Those of them that were not judged, because their summaries have a gap or overlap.
        late: Decisions that arrived after their windows had closed.
    """

    open: Mapping[str, int]
    streams: Mapping[str, int]
    closed: int
    untiled: int
    late: int

    OPEN = Gauge("drift_open", "Open alarms.", "severity")
    STREAMS = Gauge(
        "drift_streams",
        "Watched streams by state; no_reference counts versions without any.",
        "state",
    )
    CLOSED = Counter("drift_windows_closed", "Windows that were closed.")
    UNTILED = Counter(
        "drift_windows_untiled", "Windows that were not judged: summaries are missing or repeated."
    )
    LATE = Counter("drift_late_decisions", "Decisions that arrived after their windows had closed.")

    def effects(self, history: History) -> Iterable[Effect]:
        for severity, count in self.open.items():
            yield self.OPEN, count, severity
        for state, count in self.streams.items():
            yield self.STREAMS, count, state
        yield self.CLOSED, self.closed
        yield self.UNTILED, self.untiled
        yield self.LATE, self.late


@dataclass(frozen=True, slots=True)
class DriftSnapshot(Event):
    """A snapshot of the monitor's state was committed.

    Attributes:
        size: Its size in bytes.
    """

    size: int

    BYTES = Gauge("drift_snapshot_bytes", "Size of the monitor's newest snapshot.")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.BYTES, self.size


@dataclass(frozen=True, slots=True)
class DriftStateMissing(Event):
    """The monitor started with committed offsets, without a part of what belongs to them.

    Attributes:
        why: ``no_snapshot``, ``summaries_deleted`` or ``commands_created_again``.
        offset: From which offset it folds again: of the summaries, or of the commands.
    """

    why: str
    offset: int

    LINE = Line("drift_state_missing", "The monitor began without its state", fields=None)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LINE


@dataclass(frozen=True, slots=True)
class DriftReferenceMissing(Event):
    """Summaries name a reference that the model store does not have.

    Attributes:
        model: Name of the model.
        version: Its version.
        why: What is wrong.
    """

    model: str
    version: str
    why: str

    LINE = Line(
        "drift_reference_missing", "A version is not watched for drift", per=("model", "version")
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LINE


@dataclass(frozen=True, slots=True)
class DriftCommandFolded(Event):
    """The monitor read a command about alarms.

    Attributes:
        result: ``done``; ``without_effect`` for an unknown event or a repeated command; ``refused``
            for an invalid one.
        why: Why it is refused; otherwise empty.
    """

    result: str
    why: str

    COMMANDS = Counter(
        "drift_commands", "Commands about alarms.", "result",
        begin=("done", "without_effect", "refused"),
    )  # fmt: skip
    LINE = Line("drift_command_refused", "A drift command is refused", fields=("why",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.COMMANDS, 1, self.result
        if self.result == "refused":
            yield self.LINE


@dataclass(frozen=True, slots=True)
class DriftEventSent(Event):
    """A sink handled a drift event.

    Attributes:
        result: ``sent``; ``skipped`` if the receiver refuses it; ``waiting`` if it is sent again.
        lag: Events that are not handled yet; None if unknown.
        why: What the receiver answered, if it is not sent.
    """

    result: str
    lag: int | None
    why: str

    SENT = Counter(
        "drift_sink_sent", "Drift events that a sink handled.", "result",
        begin=("sent", "skipped", "waiting"),
    )  # fmt: skip
    LAG = Gauge("drift_sink_lag_events", "Drift events that a sink has not handled yet.")
    LINE = Line(
        "drift_event_not_sent", "Drift events are not delivered", fields=("result", "why"),
        per=("result",),
    )  # fmt: skip

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.SENT, 1, self.result
        if self.lag is not None:
            yield self.LAG, self.lag
        if self.result != "sent":
            yield self.LINE
