"""Uploads a device's rows, and deletes them once they are published.

What is published counts, not what was sent. A device that was killed between the answer and the
deletion asks again, so no row is published twice, and none is deleted that is not published. A
device that was copied, or restored from an older copy, has other rows than the published ones at
the same number: it stops and deletes nothing.
"""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from stream_scorer.closing import Closing
from stream_scorer.edge.claims.chain import chained
from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow, PublishedRows
from stream_scorer.edge.device.recovery import GapError
from stream_scorer.edge.files.outbox import Outbox, OutboxFullError
from stream_scorer.errors import EdgeError, StreamScorerError, UnavailableError

_FIRST_SECONDS: Final = 1.0
_MOST_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 15.0
_BYTES_MOST: Final = 4 * 1024 * 1024
"""Of a batch; in base64 and JSON it is smaller than ``serving.edge.body_bytes_max``."""
_ROW_BYTES: Final = 256
"""Of a row besides its key, value and decision."""
_JITTER: Final = 0.3
"""Devices that lost the same network come back at different moments."""
_RECOVERY: Final = "see docs/EDGE.md, Recovery"


class ForkError(EdgeError):
    """Other rows of this device are published: it was copied, or restored from an older copy."""


class RowsRefused(Exception):  # noqa: N818 an answer, not a failure
    """An upload is refused.

    Attributes:
        kind: ``behind``: the rows do not follow the published ones, as far as the server knows;
            ``forbidden``: the device may not upload, which no repetition changes.
        detail: A sentence.
    """

    def __init__(self, kind: Literal["behind", "forbidden"], detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class UploadClient(Protocol):
    """Publishes rows, by HTTPS or directly."""

    def progress(self) -> EdgeProgress:
        """Return up to which row the device's rows are published.

        Raises:
            EdgeRevokedError: An operator has revoked the device, and signed that.
            RowsRefused: The device may not upload.
            UnavailableError: There is no answer now.
        """
        ...

    def send(self, rows: Sequence[EdgeRow]) -> PublishedRows:
        """Publish rows with numbers in order, without those that are published.

        Raises:
            EdgeRevokedError: As for :meth:`progress`.
            RowsRefused: They are refused.
            UnavailableError: There is no answer now; whether they are published is not known.
        """
        ...

    def interrupt(self) -> None:
        """Have a call of another thread end soon; called before :meth:`close`."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Uploader(Closing):
    """Uploads the rows of an outbox, one batch after the other.

    Args:
        outbox: Has the rows.
        device: The device.
        client: Publishes them.
        rows: Number of rows of a batch.
        hook: Called with the name of each step; a test ends the process in it.
        checked: Whether the chain is compared; only a test does without, to show that the
            comparison is what finds a restored copy.

    Attributes:
        failure: Why the device must stop; None: it need not.
        refused: Why rows are not uploaded, though the device still decides; empty: they are.
        published: Up to which row the rows are published, as far as is known.
    """

    def __init__(
        self, outbox: Outbox, device: str, client: UploadClient, rows: int,
        hook: Callable[[str], None] = lambda _: None, *, checked: bool = True,
    ) -> None:  # fmt: skip
        self._outbox = outbox
        self._device = device
        self._client = client
        self._most = rows
        self._hook = hook
        self._checked = checked
        self._asked = False
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: StreamScorerError | None = None
        self.refused = ""
        self.published = outbox.deleted

    def step(self) -> bool:
        """Upload one batch; return whether there was one.

        Raises:
            EdgeError: The device's rows and the published ones do not fit together.
            OutboxFullError: The disk has no room for the deletion.
            RowsRefused: The device may not upload, or the server knows less than the device.
            UnavailableError: There is no answer now.
        """
        if not self._asked:
            self._settle(self._client.progress())
            self._asked = True
        rows = self._batch()
        if not rows:
            return False
        try:
            done = self._client.send(rows)
        except RowsRefused as error:
            if error.kind != "behind":
                raise
            # Another process may have published since, or the progress was lost.
            before, self._asked = self.published, False
            self._settle(self._client.progress())
            if self.published == before:
                raise EdgeError(
                    f"the device's rows are refused: {error.detail}", _RECOVERY
                ) from error
            return True
        except UnavailableError:
            self._asked = False
            raise
        self._hook("answered")
        self._settle(done.progress)
        self._hook("deleted")
        return True

    def _batch(self) -> list[EdgeRow]:
        """Return the next rows, within the limits of rows and of bytes."""
        rows: list[EdgeRow] = []
        size = 0
        for event in self._outbox.first(self._most):
            row = event.row
            size += len(row.key) + len(row.value) + len(row.decision) + _ROW_BYTES
            if rows and size > _BYTES_MOST:
                break
            rows.append(row)
        return rows

    def _settle(self, progress: EdgeProgress) -> None:
        """Delete published rows, if they are this device's."""
        deleted = self._outbox.deleted
        if progress.sequence > self._outbox.newest:
            raise GapError(
                f"rows up to {progress.sequence} are published, and the device has rows up to "
                f"{self._outbox.newest}: it is older than what was uploaded",
                "restore the newest copy; or start with --accept-gap, which prints what is missing",
            )
        if progress.sequence < deleted.sequence:
            raise EdgeError(
                f"rows up to {deleted.sequence} were published, and now only those up to "
                f"{progress.sequence} are known",
                "an operator restores the topic edge-progress: see docs/RUNBOOK.md",
            )
        if self._checked and self._chain_at(progress.sequence) != progress.chain:
            raise ForkError(
                f"row {progress.sequence} that is published is not this device's: it was copied, "
                "or restored from an older copy",
                "keep the newest copy of the device, and provision the other one again",
            )
        self._outbox.delete_through(progress)
        self.published = progress

    def _chain_at(self, sequence: int) -> bytes:
        """Return the chain after a row.

        Raises:
            EdgeError: The outbox has neither the row nor the one after it.
        """
        deleted = self._outbox.deleted
        if sequence == deleted.sequence:
            return deleted.chain
        for event in self._outbox.first(1, sequence - 1):
            if event.row.sequence == sequence:
                return chained(event.row.previous, self._device, event.row)
            if event.row.sequence == sequence + 1:
                return event.row.previous
        raise EdgeError(
            f"rows up to {sequence} are published, and the outbox has lost the ones after it",
            _RECOVERY,
        )

    # -- the thread -----------------------------------------------------------------------------

    def start(self) -> None:
        """Upload in a thread whenever there are rows, until closed."""
        self._thread = threading.Thread(target=self._run, name="device-upload", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Note that there are new rows."""
        self._wanted.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._closing.is_set():
            try:
                more = self.step()
                self.refused, pause = "", 0.0
            except (UnavailableError, OutboxFullError) as error:
                self.refused, more = str(error), False
                pause = min(max(2 * pause, _FIRST_SECONDS), _MOST_SECONDS)
            except RowsRefused as error:
                self.refused, more, pause = error.detail, False, _MOST_SECONDS
            except StreamScorerError as error:
                self.failure = error
                return
            except Exception as error:  # noqa: BLE001 a thread that ends in silence uploads nothing
                why = f"the upload has failed: {type(error).__name__}: {error}"
                self.failure = EdgeError(why, "start the device again, and report it")
                return
            if more:
                continue
            if pause:
                self._closing.wait(pause * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 no secret
            else:
                self._wanted.wait()
            self._wanted.clear()

    def close(self) -> None:
        """End the thread, and close the connection."""
        self._closing.set()
        self._wanted.set()
        self._client.interrupt()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        self._client.close()
