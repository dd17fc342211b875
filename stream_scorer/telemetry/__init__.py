"""The events of a running process: plain data, one small class per event.

Next to its fields, a class declares which metrics the event changes and which line it logs;
``observability.render`` applies them.
"""

# isort: off
from stream_scorer.telemetry.access import (
    AccessNotRecorded, CallerRefused, ClientsRead, TokenKeysRead,
)  # fmt: skip
from stream_scorer.telemetry.kafka_loop import (
    BatchAborted, BatchCommitted, BatchUnreadable, CommitSettled, ComputationHung,
    ComputationOver, DecidedBy, ProducerReborn, RecordQuarantined, ReplayLeftOut,
)  # fmt: skip
from stream_scorer.telemetry.serving import (
    AdmissionRefused, GatewayObserved, ProvisionalAnswered, ProvisionalSettled, WindowRebuilt,
    WindowShortened,
)  # fmt: skip
from stream_scorer.telemetry.drift import (
    DriftCommandFolded, DriftDetected, DriftEventSent, DriftReferenceMissing, DriftSnapshot,
    DriftStateMissing, DriftWatched,
)  # fmt: skip
from stream_scorer.telemetry.edge import (
    DeviceObserved, DeviceUpdated, EdgeRowsJudged, EdgeUploaded,
)  # fmt: skip
from stream_scorer.telemetry.event import Event, Listener
from stream_scorer.telemetry.lag import (
    LagFailed, LagPassed, LettersCounted, OutputsUnreadable, RecordsReconciled, SloCounted,
    WatermarkSeen,
)  # fmt: skip
from stream_scorer.telemetry.models import ModelFailed, ModelVerified, VersionsExpected
from stream_scorer.telemetry.partitions import (
    FirstOffsetsCommitted, KeyMisplaced, KeyOfAnother, LagObserved, Moving, PartitionsAssigned,
    PartitionsRevoked, StandingBy, Stuck,
)  # fmt: skip
from stream_scorer.telemetry.performance import (
    PerformanceFolded, PerformanceMeasured, PerformanceSent, PerformanceWarned,
)  # fmt: skip
from stream_scorer.telemetry.processes import (
    CertificateSeen, ClientReported, DependencyBack, DependencyUnavailable, DiskSeen, ProcessBegan,
    RecordsSkipped, RequestTimed, Stopping, WorkerLeft, WorkerStarted,
)  # fmt: skip
from stream_scorer.telemetry.performance import RetrainEnded, RetrainHeld, RetrainStepped
from stream_scorer.telemetry.rollout import (
    PlanAwaited, RevisionActivated, RevisionLoaded, RevisionRefused, RolloutEvidence, RolloutHeld,
    RolloutJudged, RolloutMoved,
)  # fmt: skip
from stream_scorer.telemetry.serving import RequestFailed, RequestsCut, RequestServed, SpansDropped
from stream_scorer.telemetry.state import (
    CheckpointFailed, CheckpointWritten, ColdAccepted, KernelsReady, ModelWarming, ReplayProgress,
    StateComplete, StateIncomplete, StateRestored,
)  # fmt: skip
from stream_scorer.telemetry.terminals import (
    RolloutNotVisible,
    RowsHeld,
    RowsSettled,
    TerminalsRead,
)

ACCESS_EVENTS: tuple[type[Event], ...] = (
    AccessNotRecorded, CallerRefused, ClientsRead, TokenKeysRead,
)  # fmt: skip
"""Events of the API's access control, which only `serve` has."""

LAG_EVENTS: tuple[type[Event], ...] = (
    LagFailed, LettersCounted, OutputsUnreadable, RecordsReconciled, SloCounted, WatermarkSeen,
)  # fmt: skip
"""Events of `lag --serve`."""

SCRAPED_EVENTS: tuple[type[Event], ...] = (
    LagPassed, CertificateSeen, ClientReported, DiskSeen, RequestTimed,
)  # fmt: skip
"""Declarations of metrics that are read at each scrape; no event changes them."""

PROCESS_EVENTS: tuple[type[Event], ...] = (ProcessBegan,)
"""Events of every process that serves metrics."""

SUPERVISOR_EVENTS: tuple[type[Event], ...] = (WorkerStarted, WorkerLeft)
"""Events of the parent of several workers, which has separate metrics."""

__all__ = [
    "ACCESS_EVENTS", "EVENTS", "LAG_EVENTS", "PROCESS_EVENTS", "SCRAPED_EVENTS",
    "SUPERVISOR_EVENTS", "AccessNotRecorded", "AdmissionRefused", "BatchAborted", "BatchCommitted",
    "BatchUnreadable", "CallerRefused", "CertificateSeen", "CheckpointFailed", "CheckpointWritten",
    "ClientReported", "ClientsRead", "ColdAccepted", "CommitSettled", "ComputationHung",
    "ComputationOver", "DecidedBy", "DependencyBack", "DependencyUnavailable", "DeviceObserved",
    "DeviceUpdated", "DiskSeen", "DriftCommandFolded", "DriftDetected", "DriftEventSent",
    "DriftReferenceMissing", "DriftSnapshot", "DriftStateMissing", "DriftWatched", "EdgeRowsJudged",
    "EdgeUploaded", "Event", "FirstOffsetsCommitted", "GatewayObserved", "KernelsReady",
    "KeyMisplaced", "KeyOfAnother", "LagFailed", "LagObserved", "LagPassed", "LettersCounted",
    "Listener", "ModelFailed", "ModelVerified", "ModelWarming", "Moving", "OutputsUnreadable",
    "PartitionsAssigned", "PartitionsRevoked", "PerformanceFolded", "PerformanceMeasured",
    "PerformanceSent", "PerformanceWarned", "PlanAwaited", "ProcessBegan", "ProducerReborn",
    "ProvisionalAnswered", "ProvisionalSettled", "RecordQuarantined", "RecordsReconciled",
    "RecordsSkipped", "ReplayLeftOut", "ReplayProgress", "RequestFailed", "RequestServed",
    "RequestTimed", "RequestsCut", "RetrainEnded", "RetrainHeld", "RetrainStepped",
    "RevisionActivated", "RevisionLoaded", "RevisionRefused", "RolloutEvidence", "RolloutHeld",
    "RolloutJudged", "RolloutMoved", "RolloutNotVisible", "RowsHeld", "RowsSettled", "SloCounted",
    "SpansDropped", "StandingBy", "StateComplete", "StateIncomplete", "StateRestored", "Stopping",
    "Stuck", "TerminalsRead", "TokenKeysRead", "VersionsExpected", "WatermarkSeen", "WindowRebuilt",
    "WindowShortened", "WorkerLeft", "WorkerStarted",
]  # fmt: skip

EVENTS: tuple[type[Event], ...] = tuple(
    each
    for each in map(globals().get, __all__)
    if isinstance(each, type) and issubclass(each, Event) and each is not Event
    if each not in {*SUPERVISOR_EVENTS, *ACCESS_EVENTS, *LAG_EVENTS, *SCRAPED_EVENTS}
)
"""Events of a process that reads topics: all others."""
