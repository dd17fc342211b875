"""What a device remembers: the customers' rings, its last answers, and how far its rows are."""

import base64
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.kernels.folding import DUPLICATE
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.core.rings.rings import CustomerRings
from stream_scorer.edge.claims.chain import chained
from stream_scorer.edge.claims.contract import NO_CHAIN
from stream_scorer.edge.device.recent import RecentAnswers
from stream_scorer.edge.files.events import DecidedEvent, ring_columns
from stream_scorer.edge.files.frames import DeviceFrame, FrameKind
from stream_scorer.errors import EdgeError

PARTITION: Final = 0
"""A device has one partition."""
_FORMAT: Final = 1
_CHUNK_BYTES: Final = 1024 * 1024
_LENGTH: Final = struct.Struct("<I")
_EVERY: Final = 2**31 - 1
_DAMAGED: Final = "the device's snapshot is damaged"
_UNFIT: Final = (
    "install a release that fits; or start with --accept-cold: features are incomplete until their "
    "windows have passed, and decisions are flagged degraded"
)


@dataclass(frozen=True, slots=True)
class ColdHistory:
    """For whom the device's history is incomplete, and until when.

    Attributes:
        until: Events before this time may look back to what is missing, ms since the epoch; 0:
            nothing is missing.
        warm: uint64[n], ascending: hashes of the customers whose history is complete.
    """

    until: int = 0
    warm: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def concerns(self, customer: int, event_time: int) -> bool:
        """Whether an event's features may miss a part of the history."""
        if event_time >= self.until:
            return False
        at = int(np.searchsorted(self.warm, np.uint64(customer)))
        return at == len(self.warm) or int(self.warm[at]) != customer


@dataclass(frozen=True, slots=True)
class RingsMeaning:
    """What the rings of a snapshot were made for.

    Attributes:
        lateness_ms: As in ``Retention``, like the next three.
        horizon_ms: See above.
        cap: See above.
        unit: See above.
        fields: Names of the further fields that they keep.
    """

    lateness_ms: int
    horizon_ms: int
    cap: int
    unit: str
    fields: tuple[str, ...]

    @classmethod
    def of(cls, features: FeatureSet) -> "RingsMeaning":
        """Return that of a release."""
        kept = features.engine.retention
        return cls(
            kept.lateness_ms, kept.horizon_ms, kept.cap, kept.unit, features.engine.fields
        )  # fmt: skip

    def unfit(self, new: "RingsMeaning") -> str:
        """Return why these rings cannot serve a release; empty if they can."""
        missing = [name for name in new.fields if name not in self.fields]
        if (self.lateness_ms, self.cap, self.unit) != (new.lateness_ms, new.cap, new.unit):
            return "its plan has another lateness, ring cap or currency"
        if missing:
            return f"its features need fields that were not kept: {', '.join(missing)}"
        if new.horizon_ms > self.horizon_ms:
            days = (new.horizon_ms - new.lateness_ms) / 86_400_000
            return f"its features look back {days:g} days, which is longer than what was kept"
        return ""


class DeviceHistory:
    """The rings and all else that follows from the device's log. Not thread-safe.

    Args:
        features: The features of the deciding model.

    Attributes:
        rings: The customers' rings, of one partition.
        recent: The last answers.
        sequence: Number of the last row.
        chain: The hash chain after it.
        noted: The newest time that the device's clock has shown, ms since the epoch.
        cold: For whom the history is incomplete.
    """

    def __init__(self, features: FeatureSet) -> None:
        self.rings = PartitionRings(features)
        self.meaning = RingsMeaning.of(features)
        self.recent = RecentAnswers()
        self.sequence = 0
        self.chain = NO_CHAIN
        self.noted = 0
        self.cold = ColdHistory()
        self._stored = self.meaning.fields

    @property
    def own(self) -> CustomerRings:
        """The rings of the device's partition."""
        return self.rings.of(PARTITION)

    def replay(self, device: str, events: Sequence[DecidedEvent]) -> None:
        """Fold events that were decided before, in their order.

        Raises:
            EdgeError: They do not follow what is here.
        """
        chain, sequence = self.chain, self.sequence
        for event in events:
            if event.row.sequence != sequence + 1 or event.row.previous != chain:
                raise EdgeError(
                    f"row {event.row.sequence} does not follow row {sequence} of the device",
                    "see docs/EDGE.md, Recovery",
                )
            chain, sequence = chained(chain, device, event.row), event.row.sequence
        if not events:
            return
        columns = ring_columns(events, self._stored, self.meaning.fields)
        verdict = np.zeros(len(events), np.uint8)
        skip = np.zeros(len(events), np.bool_)
        rows = np.arange(len(events))
        journal = self.own.fold(rows, columns, skip, verdict, None)
        self.own.release(journal)
        if (verdict == DUPLICATE).any():
            raise EdgeError("a transaction is twice in the device's log", "restore the device")
        self.chain, self.sequence = chain, sequence
        self.noted = max(self.noted, *(event.noted for event in events))

    # -- snapshots ----------------------------------------------------------------------------

    def snapshot(self) -> Iterator[DeviceFrame]:
        """Yield all of it as the first frames of a log. No batch may be open.

        Only here do rings leave that no event in time can see. So what a restart folds after a
        snapshot is folded into the same rings as before.
        """
        self.own.evict(_EVERY)
        meta = {
            "format": _FORMAT, "sequence": self.sequence, "chain": self.chain.hex(),
            "noted": self.noted, "watermark": self.own.watermark,
            "rings": [
                self.meaning.lateness_ms, self.meaning.horizon_ms, self.meaning.cap,
                self.meaning.unit,
            ],
            "fields": list(self.meaning.fields), "until": self.cold.until,
            "warm": base64.b64encode(self.cold.warm.astype("<u8").tobytes()).decode(),
        }  # fmt: skip
        yield from self._chunks(FrameKind.META, json.dumps(meta).encode())
        buckets = (self.own.dump(bucket) for bucket in range(BUCKETS))
        joined = b"".join(_LENGTH.pack(len(each)) + each for each in buckets if each)
        yield from self._chunks(FrameKind.BUCKETS, joined)
        yield from self._chunks(FrameKind.RECENT, self.recent.packed())
        yield DeviceFrame(FrameKind.READY, self.sequence, b"")

    def _chunks(self, kind: FrameKind, data: bytes) -> Iterator[DeviceFrame]:
        for at in range(0, len(data), _CHUNK_BYTES):
            yield DeviceFrame(kind, self.sequence, data[at : at + _CHUNK_BYTES])

    def restore(
        self, frames: Iterable[DeviceFrame], cold: Callable[[], ColdHistory] | None = None
    ) -> None:
        """Continue from the snapshot at the beginning of a log's frames, and read up to its end.

        Args:
            frames: The frames.
            cold: Returns whose history is incomplete if the rings cannot serve the features; None:
                they are refused then.

        Raises:
            EdgeError: It is damaged or incomplete, or cannot serve the features.
        """
        parts = {FrameKind.META: b"", FrameKind.BUCKETS: b"", FrameKind.RECENT: b""}
        for frame in frames:
            if frame.kind == FrameKind.READY:
                break
            if frame.kind not in parts:
                raise EdgeError(_DAMAGED, "see docs/EDGE.md, Recovery")
            parts[frame.kind] += frame.body
        else:
            raise EdgeError(
                "the device's snapshot is cut off, which no power cut does",
                "see docs/EDGE.md, Recovery",
            )
        try:
            self._restore(json.loads(parts[FrameKind.META]), parts[FrameKind.BUCKETS], cold)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise EdgeError(f"{_DAMAGED}: {error}", "see docs/EDGE.md, Recovery") from error
        self.recent = RecentAnswers.unpacked(parts[FrameKind.RECENT])

    def _restore(
        self, meta: dict[str, Any], buckets: bytes, cold: Callable[[], ColdHistory] | None
    ) -> None:
        if meta["format"] != _FORMAT:
            raise EdgeError(
                f"the device's snapshot has format {meta['format']}, this release has {_FORMAT}",
                "run the release that wrote it",
            )
        self._stored = tuple(meta["fields"])
        self.sequence, self.chain = meta["sequence"], bytes.fromhex(meta["chain"])
        self.noted = meta["noted"]
        warm = np.frombuffer(base64.b64decode(meta["warm"]), "<u8").astype(np.uint64)
        self.cold = ColdHistory(meta["until"], warm)
        lateness, horizon, cap, unit = meta["rings"]
        stored = RingsMeaning(lateness, horizon, cap, unit, self._stored)
        why = stored.unfit(self.meaning)
        if why and cold is not None:
            self.cold = cold()
            return
        if why:
            raise EdgeError(f"the device's history cannot serve this release: {why}", _UNFIT)
        at = 0
        while at < len(buckets):
            (length,) = _LENGTH.unpack_from(buckets, at)
            at += _LENGTH.size
            self.own.load(buckets[at : at + length])
            at += length
        self.own.watermark = meta["watermark"]

    @property
    def fits_file(self) -> bool:
        """Whether the log that was read keeps the fields that this release keeps."""
        return self._stored == self.meaning.fields

    def rewritten(self) -> None:
        """Note that the log begins with this history's snapshot."""
        self._stored = self.meaning.fields
