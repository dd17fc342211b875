"""Writes the monitor's complete state as a snapshot, and continues from one, bit for bit."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from stream_scorer.drift.alarms.episodes import Episodes
from stream_scorer.drift.alarms.evidence import nearness
from stream_scorer.drift.alarms.family import GUARANTEED_SHARE
from stream_scorer.drift.alarms.stream_history import HISTORY, StreamHistory
from stream_scorer.drift.monitor.command_effects import CommandBook
from stream_scorer.drift.monitor.fault_book import FaultBook
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.monitor.version_watch import VersionWatch
from stream_scorer.drift.monitor.watch import DriftWatch, ReferenceOf
from stream_scorer.drift.quality.rules import QualityRules
from stream_scorer.drift.state.document import (
    ALARMED,
    LEARNING,
    UNWATCHED,
    WATCHED,
    MonitorDocument,
    MonitorProgress,
    VersionStreams,
)
from stream_scorer.drift.state.snapshot import pack, pack_arrays, unpack, unpack_arrays
from stream_scorer.drift.windows.arrival_windows import ArrivalWindows
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.drift.windows.tiles import Tiles
from stream_scorer.drift.windows.windows import HOUR_MS
from stream_scorer.security.canonical_json import canonical, parse

ETA: Final = 0.05
_IN_DOCUMENT: Final = ("mean", "since", "value")
"""Columns of streams that a snapshot has in its document, and not a second time."""
LOST: Final = (
    "its reference was not found when the monitor started: correct models.directory or models.url, "
    "and start the monitor again; then its streams begin again"
)


def document_of(watch: DriftWatch, summaries_offset: int) -> MonitorDocument:
    """Return what the state says to people.

    Args:
        watch: The state.
        summaries_offset: Next offset of the summaries topic.
    """
    references = [
        each.streams.reference for each in watch.versions.values() if each.streams is not None
    ]
    window_ms = references[-1].window_ms if references else HOUR_MS
    windows = watch.budget.windows(window_ms)
    shares = [
        each.streams.family.guaranteed_share for each in watch.versions.values() if each.streams
    ]
    progress = MonitorProgress(
        detected_at=watch.detected_at, watermark=watch.windows.watermark, window_ms=window_ms,
        summaries_offset=summaries_offset, commands_offset=watch.commands.offset,
        gaps=watch.tiles.gaps, overlaps=watch.tiles.overlaps, late=watch.late,
        dropped=watch.dropped, snooze_until=watch.commands.snooze_until,
        false_alarm_days=watch.budget.false_alarm_days, windows=windows,
        guaranteed_windows=windows / GUARANTEED_SHARE,
        calibrated_windows=windows / (1 - min(shares, default=GUARANTEED_SHARE)),
        eta=references[-1].eta if references else ETA, patience=windows,
        late_records=watch.arrivals.late,
    )  # fmt: skip
    alarmed = {
        (each.opened.model, each.opened.version, each.opened.stream)
        for each in watch.episodes.opened()
    }
    return MonitorDocument(
        progress,
        tuple(_version_streams(each, alarmed) for each in watch.versions.values()),
        tuple(watch.episodes.records.values()),
        tuple(watch.faults.open.values()),
        dict(watch.commands.reasons),
        watch.commands.snoozed_in(watch),
    )


def snapshot_of(watch: DriftWatch, summaries_offset: int) -> bytes:
    """Return a snapshot of the complete state.

    Args:
        watch: The state.
        summaries_offset: Next offset of the summaries topic.

    Raises:
        ValueError: It is too large.
    """
    opened = watch.windows.opened()
    fold = {
        "windows": watch.windows.document(),
        "arrivals": watch.arrivals.document(),
        "tiles": watch.tiles.document(),
        "commands": watch.commands.document(),
        "faults": watch.faults.document(),
        "first_start": watch.first_start,
        "closed": watch.closed,
        "untiled": watch.untiled,
        "open": [
            [
                each.model, each.version, each.reference, list(each.segments), each.start,
                each.end, each.count, each.late, list(each.counts.shape), each.tiled,
            ]
            for each in opened
        ],
        "versions": [
            {
                "last_start": each.last_start, "gone": each.gone,
                "segments": list(each.streams.segments) if each.streams else [],
                "waiting": each.streams.waiting() if each.streams else {},
                "quality": each.quality.snapshot().decode() if each.quality else "",
            }
            for each in watch.versions.values()
        ],
    }  # fmt: skip
    sections = document_of(watch, summaries_offset).sections()
    sections["fold"] = canonical(fold)
    sections["open"] = pack_arrays(
        {
            "counts": _joined([each.counts.ravel() for each in opened]),
            "score_sum": _joined([each.score_sum for each in opened]),
            "log_sum": _joined([each.log_sum for each in opened]),
        }
    )
    for number, each in enumerate(watch.versions.values()):
        arrays: dict[str, np.ndarray] = {
            "recent": each.recent, "recent_start": each.recent_start,
        }  # fmt: skip
        if each.streams is not None:
            history = each.streams.history
            own = each.streams.arrays().items()
            arrays |= {name: column for name, column in own if name not in _IN_DOCUMENT}
            arrays |= {"history_end": history.end, "history_weight": history.packed()}
        if each.river is not None:
            arrays |= each.river.arrays()
        sections[f"streams/{number}"] = pack_arrays(arrays)
    return pack(sections)


def continue_from(data: bytes, fresh: DriftWatch, reference_of: ReferenceOf) -> DriftWatch:
    """Return the state of a snapshot.

    Args:
        data: The snapshot.
        fresh: A new state, whose settings it gets.
        reference_of: Looks up references.

    Raises:
        ValueError: It is not a snapshot of the monitor.
    """
    try:
        return _continued(unpack(data), fresh, reference_of)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"the monitor's snapshot is invalid: {error!r}") from error


def versions_in(data: bytes) -> list[tuple[str, str, str]]:
    """Return model, version and digest of the versions whose references a snapshot needs.

    Raises:
        ValueError: It is not a snapshot of the monitor.
    """
    found = MonitorDocument.read(data).versions
    return [(each.model, each.version, each.reference) for each in found if each.keys]


def _continued(
    sections: Mapping[str, bytes], fresh: DriftWatch, reference_of: ReferenceOf
) -> DriftWatch:
    document = MonitorDocument.of(sections)
    fold = parse(sections["fold"])
    fresh.windows.read(fold["windows"], _opened(fold["open"], unpack_arrays(sections["open"])))
    fresh.arrivals = ArrivalWindows.read(fold["arrivals"])
    fresh.tiles = Tiles.read(fold["tiles"])
    fresh.commands = CommandBook.read(fold["commands"], document.reasons)
    fresh.faults = FaultBook.read(fold["faults"], document.faults)
    fresh.episodes = Episodes({each.opened.episode: each for each in document.episodes})
    fresh.first_start = int(fold["first_start"])
    fresh.closed, fresh.untiled = int(fold["closed"]), int(fold["untiled"])
    for number, (said, more) in enumerate(zip(document.versions, fold["versions"], strict=True)):
        arrays = unpack_arrays(sections[f"streams/{number}"])
        fresh.put(_version(said, more, arrays, fresh, reference_of))
    return fresh


def _version(
    said: VersionStreams, more: Mapping[str, Any], arrays: dict[str, np.ndarray],
    fresh: DriftWatch, reference_of: ReferenceOf,
) -> VersionWatch:  # fmt: skip
    reference = reference_of(said.model, said.version, said.reference) if said.keys else None
    note = LOST if said.keys and reference is None else said.note
    made = VersionWatch(
        said.model, said.version, said.reference, note, int(more["last_start"]), None, None,
        arrays["recent"], arrays["recent_start"], bool(more["gone"]),
    )  # fmt: skip
    if reference is not None:
        streams = StreamsOfVersion(reference, more["segments"], fresh.budget, fresh.first_start)
        history = StreamHistory(
            said.history_start, arrays["history_end"], said.residual, said.season,
            StreamHistory.unpacked(arrays["history_weight"]),
        )  # fmt: skip
        arrays |= {name: getattr(said, name) for name in _IN_DOCUMENT}
        streams.load(arrays, said.keys, history, said.learning_until, more["waiting"])
        rules = QualityRules.restore(more["quality"].encode(), reference)
        made.begin(streams, rules, fresh.budget).load(arrays)
    return made


def _version_streams(watch: VersionWatch, alarmed: set[tuple[str, str, str]]) -> VersionStreams:
    streams = watch.streams
    if streams is None:
        none = np.zeros(0)
        whole = np.zeros(0, np.int64)
        empty = np.zeros((0, HISTORY), np.float16)
        return VersionStreams(
            watch.model, watch.version, watch.reference, watch.note, (), (),
            np.zeros(0, np.uint8), whole, none, none, none, none, none, none, whole,
            np.full(HISTORY, -1), none, empty, empty, none, none,
        )  # fmt: skip
    nulls, family = streams.nulls, streams.family
    names = [*(key.text for key in streams.keys[:-1]), "fleet"]
    has_alarm = np.array([(watch.model, watch.version, name) in alarmed for name in names])
    learning = streams.since == 0
    quiet = np.where(nulls.watched, np.where(learning, LEARNING, WATCHED), UNWATCHED)
    state = np.where(has_alarm, ALARMED, quiet)
    return VersionStreams(
        watch.model, watch.version, watch.reference, watch.note, streams.keys,
        tuple(_class_of(each, moved) for each, moved in zip(
            nulls.classes, (family.low != nulls.low).tolist(), strict=True)),
        state.astype(np.uint8), streams.learning_until, family.mean, streams.value, nulls.delta,
        nulls.scale, family.log_evidence, nulls.share, streams.since, streams.history.start,
        nulls.mean, streams.history.residual, streams.history.season, *nearness(family),
        watch.river.states() if watch.river else (),
    )  # fmt: skip


def _class_of(reference: str, moved: bool) -> str:  # noqa: FBT001 one of two columns
    return reference or ("not in the class: its mean was learned after a change" if moved else "")


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _opened(rows: Sequence[Sequence[Any]], arrays: Mapping[str, np.ndarray]) -> list[ClosedWindow]:
    found = []
    counts_at = sums_at = 0
    for model, version, reference, segments, start, end, count, late, shape, tiled in rows:
        size, sums = int(np.prod(shape)), len(segments) + 1
        counts = arrays["counts"][counts_at : counts_at + size].reshape(shape)
        mine = slice(sums_at, sums_at + sums)
        found.append(
            ClosedWindow(
                model, version, reference, tuple(segments), start, end, count, late,
                counts.copy(), arrays["score_sum"][mine].copy(), arrays["log_sum"][mine].copy(),
                tiled,
            )
        )  # fmt: skip
        counts_at += size
        sums_at += sums
    return found
