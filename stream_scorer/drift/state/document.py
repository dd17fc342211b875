"""The part of a snapshot that people see: streams, episodes, faults and the monitor's progress.

``drift status``, ``drift explain`` and ``drift report`` read it. So they need no running monitor.
A snapshot has more sections, from which the monitor continues; they are not read here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.contract import Alarm, EpisodeState, Severity
from stream_scorer.drift.alarms.episodes import EpisodeRecord
from stream_scorer.drift.alarms.river_streams import RiverDetection, RiverState
from stream_scorer.drift.alarms.stream_history import HISTORY
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.state.snapshot import pack_arrays, unpack, unpack_arrays
from stream_scorer.drift.state.typed import typed
from stream_scorer.ports import Float64, Int64
from stream_scorer.security.canonical_json import canonical, parse

LEARNING, WATCHED, ALARMED, UNWATCHED = 0, 1, 2, 3
"""States of a stream: its histories are still filling, it is watched, it has an open episode, its
reference is too short for any promise."""


@dataclass(frozen=True, slots=True)
class MonitorProgress:
    """The monitor's progress and its budget.

    Attributes:
        detected_at: Largest Kafka timestamp of the summaries that were read, ms; -1 before any.
        watermark: Smallest watermark of the active partitions, ms of event time; -1 if unknown.
        window_ms: Width of a window in ms.
        summaries_offset: Next offset of the summaries topic.
        commands_offset: Next offset of the commands topic.
        gaps: Ranges of input offsets that no summary covered.
        overlaps: Ranges of input offsets that two summaries covered.
        late: Decisions that arrived after their windows had closed.
        dropped: Windows that were dropped because too many were open.
        snooze_until: Kafka time until which alarms are notes, ms; 0 for none.
        false_alarm_days: The budget: days between two false alarms of one version's streams.
        windows: The budget in windows.
        guaranteed_windows: Run length of the guaranteed detectors, in windows.
        calibrated_windows: Run length of the calibrated detectors, in windows.
        eta: Probability that a band of the reference misses its mean.
        patience: Number of windows for which an alarm's error is stated.
        late_records: Input records that the rules for the input did not count, because their
            window of arrival had closed or was dropped.
    """

    detected_at: int
    watermark: int
    window_ms: int
    summaries_offset: int
    commands_offset: int
    gaps: int
    overlaps: int
    late: int
    dropped: int
    snooze_until: int
    false_alarm_days: float
    windows: float
    guaranteed_windows: float
    calibrated_windows: float
    eta: float
    patience: float
    late_records: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class VersionStreams:
    """The streams of one model version, k of them; none without a reference.

    Attributes:
        model: Name of the model.
        version: Its version.
        reference: Digest of its reference; empty without one.
        note: Why it has no streams, and how to get them; empty if it has.
        keys: Names of the streams.
        classes: By stream: why the guaranteed promise does not hold; empty if it holds.
        state: uint8[k], ``LEARNING``, ``WATCHED``, ``ALARMED`` or ``UNWATCHED``.
        learning_until: int64[k], event time in ms before which the stream cannot alarm.
        mean: float64[k], mean without a change, without the season.
        value: float64[k], newest value; NaN before any.
        tolerance: float64[k], change that does not matter, in the unit of the value.
        scale: float64[k], standard deviation of a value.
        log_evidence: float64[k], logarithm of the stream's evidence for a change; -inf for none.
        share: float64[k], the stream's share of the budget.
        since: int64[k], start of the state, ms of event time; 0 before any window.
        history_start: int64[168], start of each window of the history, ms; -1 where there is none.
        centre: float64[k], mean in the reference.
        residual: float16[k, 168], values by window, oldest first, in standard deviations from what
            was expected; NaN where a stream had none, as one whose windows were pooled has only in
            the last of them. Half precision lets a stream's state fit into 2 KB.
        season: float16[k, 168], the season there, in standard deviations.
        near_guaranteed: float32[k], from 0 to 1, how much of the evidence that an alarm of the
            guaranteed detector needs is there; NaN without one.
        near_calibrated: float32[k], the same of the calibrated detector.
        river: What River's detectors say of some of the streams.
    """

    model: str
    version: str
    reference: str
    note: str
    keys: tuple[StreamKey, ...]
    classes: tuple[str, ...]
    state: NDArray[np.uint8]
    learning_until: Int64
    mean: Float64
    value: Float64
    tolerance: Float64
    scale: Float64
    log_evidence: Float64
    share: Float64
    since: Int64
    history_start: Int64
    centre: Float64
    residual: NDArray[np.float16]
    season: NDArray[np.float16]
    near_guaranteed: NDArray[np.floating]
    near_calibrated: NDArray[np.floating]
    river: tuple[RiverState, ...] = ()

    @property
    def history(self) -> Float64:
        """float64[k, 168], values by window, oldest first; NaN where there are none."""
        return self.expected + self.residual * self.scale[:, None]

    @property
    def expected(self) -> Float64:
        """float64[k, 168], what was expected: the reference's mean and season."""
        return self.centre[:, None] + self.season * self.scale[:, None]


Episode = EpisodeRecord
"""A change that was reported, with its state."""


@dataclass(frozen=True, slots=True)
class OpenFault:
    """A fault of the input that is not over.

    Attributes:
        event_id: Id of the alarm that opened it.
        model: Model whose windows show it; empty for the arrival of the input.
        version: Its version.
        fault: The fault in its newest window.
    """

    event_id: str
    model: str
    version: str
    fault: QualityFault


_HISTORIES: Final = ("residual", "season")
_DTYPES: Final = {
    "state": "u1", "learning_until": "i8", "since": "i8", "history_start": "i8",
    "residual": "f2", "season": "f2", "near_guaranteed": "f4", "near_calibrated": "f4",
}  # fmt: skip
_COLUMNS: Final = (
    "state", "learning_until", "mean", "value", "tolerance", "scale", "log_evidence", "share",
    "since", "history_start", "centre", *_HISTORIES, "near_guaranteed", "near_calibrated",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MonitorDocument:
    """What a snapshot says to people.

    Attributes:
        meta: Progress and budget.
        versions: Streams by model version, in the order of their first window.
        episodes: Episodes, oldest first.
        faults: Open faults, oldest first.
        reasons: Why commands were given, by the id of the event that each made.
        snoozed: Ids of the open episodes that are notes now, because they are snoozed.
    """

    meta: MonitorProgress
    versions: tuple[VersionStreams, ...]
    episodes: tuple[Episode, ...]
    faults: tuple[OpenFault, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)
    snoozed: tuple[str, ...] = ()

    def severity(self, episode: Episode) -> Severity:
        """Return how urgent an episode is now: while it is snoozed, a note."""
        snoozed = episode.opened.episode in self.snoozed
        return Severity.NOTE if snoozed else episode.opened.severity

    def sections(self) -> dict[str, bytes]:
        """Return the sections: meta, versions, episodes, answers, faults, state/NUMBER."""
        named = [
            {
                "model": each.model, "version": each.version, "reference": each.reference,
                "note": each.note, "classes": list(each.classes),
                "keys": [[key.field, key.measure, key.segment] for key in each.keys],
                "river": [asdict(line) for line in each.river],
            }
            for each in self.versions
        ]  # fmt: skip
        sections = {
            "meta": canonical(asdict(self.meta)),
            "versions": canonical({"versions": named}),
            "episodes": canonical({"episodes": [_episode_json(each) for each in self.episodes]}),
            "faults": canonical({"faults": [_fault_json(each) for each in self.faults]}),
            "answers": canonical(
                {"reasons": [list(each) for each in self.reasons.items()], "snoozed": self.snoozed}
            ),
        }
        for number, each in enumerate(self.versions):
            columns = {
                name: np.asarray(getattr(each, name)).astype(_DTYPES.get(name, "f8"), copy=False)
                for name in _COLUMNS
            }
            sections[f"state/{number}"] = pack_arrays(columns)
        return sections

    @classmethod
    def read(cls, data: bytes) -> "MonitorDocument":
        """Return the document of a snapshot.

        Raises:
            ValueError: It is not a snapshot of this format.
        """
        return cls.of(unpack(data))

    @classmethod
    def of(cls, sections: Mapping[str, bytes]) -> "MonitorDocument":
        """Return the document of a snapshot's sections.

        Raises:
            ValueError: A section is missing, or has another content.
        """
        try:
            meta = parse(sections["meta"])
            named = parse(sections["versions"])["versions"]
            episodes = parse(sections["episodes"])["episodes"]
            faults = parse(sections["faults"])["faults"]
            answers = parse(sections["answers"])
            return cls(
                typed(MonitorProgress(**meta)),
                tuple(_version(each, sections[f"state/{n}"]) for n, each in enumerate(named)),
                tuple(_episode(each) for each in episodes),
                tuple(_fault(each) for each in faults),
                {str(event): str(reason) for event, reason in answers["reasons"]},
                tuple(str(each) for each in answers["snoozed"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a section of the snapshot is missing or invalid: {error}") from error


def _version(named: Mapping[str, Any], data: bytes) -> VersionStreams:
    keys = tuple(StreamKey(*key) for key in named["keys"])
    arrays = unpack_arrays(data)
    columns = {name: arrays[name].astype(_DTYPES.get(name, "f8"), copy=False) for name in _COLUMNS}
    for name, values in columns.items():
        shape = {"history_start": (HISTORY,)}.get(name, (len(keys),))
        if values.shape != ((len(keys), HISTORY) if name in _HISTORIES else shape):
            raise ValueError(f"the section of {named['model']} has another shape of {name}")
    return VersionStreams(
        named["model"], named["version"], named["reference"], named["note"], keys,
        tuple(named["classes"]), **columns,
        river=tuple(typed(RiverState(**line)) for line in named.get("river", ())),
    )  # fmt: skip


def alarm_json(alarm: Alarm) -> dict[str, Any]:
    """Return an alarm as JSON; numbers that JSON does not have are null."""
    return {name: _finite(value) for name, value in asdict(alarm).items()}


def alarm_of(values: Mapping[str, Any]) -> Alarm:
    """Return the alarm of :func:`alarm_json`.

    Raises:
        KeyError: An attribute is missing.
        ValueError: The severity is unknown, or an attribute has another type.
    """
    columns = {each.name: values[each.name] for each in fields(Alarm) if each.name != "river"}
    for name in ("before", "after", "delta", "effect", "log_e", "value"):
        columns[name] = math.nan if columns[name] is None else float(columns[name])
    for name in ("labels", "before_counts", "after_counts"):
        columns[name] = tuple(columns[name])
    columns["also"] = tuple((str(name), float(effect)) for name, effect in columns["also"])
    columns["river"] = tuple(typed(RiverDetection(**each)) for each in values.get("river", ()))
    columns["severity"] = Severity(columns["severity"])
    return typed(Alarm(**columns))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fault_json(fault: OpenFault) -> dict[str, Any]:
    values = asdict(fault)
    return values | {"fault": {name: _finite(each) for name, each in values["fault"].items()}}


def _fault(values: Mapping[str, Any]) -> OpenFault:
    numbers = {
        name: math.nan if values["fault"][name] is None else float(values["fault"][name])
        for name in ("value", "usual", "evidence")
    }
    fault = typed(QualityFault(**{**values["fault"], **numbers}))
    return typed(OpenFault(**{**values, "fault": fault}))


def _episode_json(episode: Episode) -> dict[str, Any]:
    return {
        "opened": alarm_json(episode.opened), "state": episode.state, "ended": episode.ended,
        "why": episode.why, "commands": list(episode.commands),
    }  # fmt: skip


def _episode(values: Mapping[str, Any]) -> Episode:
    commands: Sequence[str] = values["commands"]
    opened, state = alarm_of(values["opened"]), EpisodeState(values["state"])
    return typed(Episode(opened, state, values["ended"], values["why"], tuple(commands)))
