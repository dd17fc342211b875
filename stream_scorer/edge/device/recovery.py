"""Opens a device's files: checks them against each other, and repairs them from each other."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.device.history import ColdHistory, DeviceHistory, RingsMeaning
from stream_scorer.edge.device.recent import DeviceAnswer, identity_of
from stream_scorer.edge.device.state import DeviceFiles, DeviceState
from stream_scorer.edge.files.events import DecidedEvent, groups_of, unpacked_group
from stream_scorer.edge.files.frames import DeviceFrame, FrameKind, LogIdentity
from stream_scorer.edge.files.log import DeviceLog, create_log, discard_unfinished
from stream_scorer.edge.files.outbox import Outbox, OutboxFullError
from stream_scorer.edge.files.seed import StateSeed
from stream_scorer.errors import EdgeError, UnavailableError

_REPLAYED: Final = 4_096
_RECOVERY: Final = "see docs/EDGE.md, Recovery"
_EXPORT: Final = "export the release with --state for this device"


class GapError(EdgeError):
    """The device's log ends before a row that is published: it is older than what was uploaded."""


@dataclass(frozen=True, slots=True)
class DeviceBeginning:
    """How a device begins where its own history cannot be used.

    Attributes:
        now: The device's time, ms since the epoch.
        seed: What an operator has provisioned a new device with; None: nothing.
        accept_cold: Whether features may decide whose history is incomplete.
        accept_gap: Whether to continue although the log ends before a row that was uploaded.
        progress: Up to which row the device's rows are published, as far as is known.
        notice: Called with a sentence for the operator about what the device continues without.
    """

    now: int
    seed: StateSeed | None = None
    accept_cold: bool = False
    accept_gap: bool = False
    progress: EdgeProgress = field(default_factory=EdgeProgress)
    notice: Callable[[str], None] = lambda _: None


def open_state(
    files: DeviceFiles, features: FeatureSet, identity: LogIdentity, begin: DeviceBeginning
) -> DeviceState:
    """Open a device's files. The caller has the folder's lock.

    Args:
        files: Where they are.
        features: Of the deciding model.
        identity: Of the release.
        begin: How to begin where there is no history that can be used.

    Raises:
        EdgeError: They are damaged or do not fit together.
        GapError: The log ends before a row that was uploaded.
        StateError: The outbox is damaged, or another process has it.
        UnavailableError: The disk is full, or a file cannot be written.
    """
    discard_unfinished(files.log)
    outbox = Outbox(files.outbox, files.cipher, files.device)
    try:
        return _Recovery(files, features, identity, begin, outbox).state()
    except (OSError, OutboxFullError) as error:
        outbox.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise UnavailableError(f"{files.folder}: {why}", "free room on the disk") from error
    except BaseException:
        outbox.close()
        raise


class _Recovery:
    """Opens the files of a device."""

    def __init__(
        self, files: DeviceFiles, features: FeatureSet, identity: LogIdentity,
        begin: DeviceBeginning, outbox: Outbox,
    ) -> None:  # fmt: skip
        self._files = files
        self._features = features
        self._identity = identity
        self._begin = begin
        self._outbox = outbox
        self._history = DeviceHistory(features)
        self._missing: list[tuple[int, bytes]] = []

    def _cold(self) -> ColdHistory:
        """Return a history that lacks what was before now.

        The clock of the machine may have gone back, so that of the device counts.
        """
        need = self._features.need.window_ms
        return ColdHistory(max(self._begin.now, self._history.noted) + need if need else 0)

    def state(self) -> DeviceState:
        """Return the open files."""
        log = self._read() if self._files.log.exists() else None
        try:
            log = self._begun(log)
            state = DeviceState(
                self._files, log, self._outbox, self._history, self._identity, self._missing
            )
            with suppress(OutboxFullError):  # its upload makes room; the next group tries again
                state.add_to_outbox()
        except BaseException:
            if log is not None:
                log.close()
            raise
        return state

    def _begun(self, log: DeviceLog | None) -> DeviceLog:
        """Return the log, which has all rows that are known; a new one where that is needed."""
        reached = self._history.sequence
        if self._begin.progress == EdgeProgress(reached, self._history.chain):
            # An outbox that was lost does not know it.
            self._outbox.delete_through(self._begin.progress)
        published = max(self._outbox.deleted, self._begin.progress, key=lambda each: each.sequence)
        rows = self._outbox.size()[0]
        gap = reached < published.sequence or (log is None and rows > 0)
        if gap:
            self._accept_gap(log, published)
        elif log is None:
            self._begin_new()
        recovered = self._recovered()
        if log is not None and log.damaged:
            self._cut_damaged(log, reached, len(recovered))
        if log is None or gap or not self._is_current(log):
            made = create_log(
                self._files.log, self._files.cipher, self._identity, self._history.snapshot(),
                self._files.hook,
            )  # fmt: skip
            if log is not None:
                log.close()
            self._history.rewritten()
            return made
        for last, body in groups_of(recovered):
            log.append(DeviceFrame(FrameKind.EVENTS, last, body))
        return log

    def _is_current(self, log: DeviceLog) -> bool:
        return log.identity == self._identity and self._history.fits_file

    def _read(self) -> DeviceLog:
        """Read the log, and note the rows that the outbox does not have."""
        log = DeviceLog(self._files.log, self._files.cipher, self._files.device, self._files.hook)
        try:
            frames = log.frames()
            self._history.restore(frames, self._cold if self._begin.accept_cold else None)
            self._replay(frames)
        except BaseException:
            log.close()
            raise
        return log

    def _replay(self, frames: Iterable[DeviceFrame]) -> None:
        waiting: list[DecidedEvent] = []
        for frame in frames:
            if frame.kind != FrameKind.EVENTS:
                raise EdgeError(f"{self._files.log}: has two snapshots", _RECOVERY)
            for event in unpacked_group(frame.body):
                waiting.append(event)
                if event.row.sequence > self._outbox.newest:
                    self._missing.append((event.row.sequence, event.packed()))
            if len(waiting) >= _REPLAYED:
                self._fold(waiting)
                waiting = []
        self._fold(waiting)

    def _fold(self, events: list[DecidedEvent]) -> None:
        self._history.replay(self._files.device, events)
        for event in events:
            decision = decode_decision(event.row.decision)
            answer = DeviceAnswer.of(event.row.sequence, decision)
            identity = identity_of(event.customer, decision.transaction_id)
            self._history.recent.add(identity, event.digest, answer)

    def _recovered(self) -> list[DecidedEvent]:
        """Fold the rows that only the outbox has, and return them."""
        found: list[DecidedEvent] = []
        while rows := self._outbox.first(_REPLAYED, self._history.sequence):
            self._fold(rows)
            found += rows
        return found

    def _cut_damaged(self, log: DeviceLog, reached: int, restored: int) -> None:
        """Cut off the log's damaged end, and report which rows the outbox had."""
        size, kept = log.damaged, log.cut_damaged()
        self._begin.notice(
            f"{log.path}: {size} damaged bytes after row {reached} were cut off, and are kept in "
            f"{kept.name}; the outbox had {restored} rows; other rows of these bytes are missing"
        )

    def _accept_gap(self, log: DeviceLog | None, published: EdgeProgress) -> None:
        """Continue after the published rows, with a history that is incomplete.

        Raises:
            GapError: That is not accepted.
        """
        lost = self._lost_in_gap(published.sequence)
        if not self._begin.accept_gap:
            what = "is missing" if log is None else f"ends at row {self._history.sequence}"
            if log is not None and log.damaged:
                what += f", in front of {log.damaged} damaged bytes"
            raise GapError(
                f"{self._files.log}: {what}, and rows up to {published.sequence} were uploaded: "
                "it is older than the device, or the disk has lost a part",
                f"restore the newest copy; or start with --accept-gap: {lost}; until the windows "
                "have passed, the history is incomplete, and decisions are flagged degraded",
            )
        self._begin.notice(
            f"{self._files.log}: continues after row {published.sequence} with --accept-gap: {lost}"
        )
        if published.sequence > self._outbox.deleted.sequence:
            self._outbox.delete_through(published)
        # What is there of the history stays: the rows in between are missing in it.
        self._history.noted = max(self._history.noted, self._begin.now)
        self._history.sequence, self._history.chain = published.sequence, published.chain
        self._history.cold = self._cold()
        self._missing = []

    def _lost_in_gap(self, last: int) -> str:
        """Return what a device loses that continues after a published row."""
        first, outbox = self._history.sequence + 1, self._outbox
        # Rows with these numbers are published, but this copy may have decided others.
        waiting = max(min(outbox.newest, last) - outbox.deleted.sequence, 0) + len(self._missing)
        rows = max(last - first + 1, 0)
        missing = f"its history is missing {rows} rows" + (f" ({first} to {last})" if rows else "")
        return f"{missing}, and {waiting} waiting rows are not uploaded"

    def _begin_new(self) -> None:
        """Begin the history of a new device.

        Raises:
            EdgeError: Its features look back, and there is nothing to look at.
        """
        history, seed = self._history, self._begin.seed
        history.noted = self._begin.now
        if seed is not None:
            self._sow(seed)
        elif self._cold().until and not self._begin.accept_cold:
            days = self._features.need.window_ms / 86_400_000
            raise EdgeError(
                f"the features look back {days:g} days, and the device has no history",
                "export it with --state CUSTOMERS; or start with --accept-cold: features are "
                "incomplete until their windows have passed, and decisions are flagged degraded",
            )
        else:
            history.cold = self._cold()

    def _sow(self, seed: StateSeed) -> None:
        """Begin with provisioned histories.

        Raises:
            EdgeError: They are for another device or release, or damaged.
        """
        history = self._history
        why = RingsMeaning(*seed.rings, seed.fields).unfit(history.meaning)
        if seed.device != self._files.device:
            why = f"it is for device {seed.device!a}"
        if why:
            raise EdgeError(f"the provisioned state does not fit: {why}", _EXPORT)
        try:
            for bucket in seed.buckets:
                history.own.load(bucket.payload)
        except ValueError as error:
            raise EdgeError(f"the provisioned state is damaged: {error}", _EXPORT) from error
        history.own.watermark = seed.watermark
        history.cold = ColdHistory(seed.until, seed.warm)
