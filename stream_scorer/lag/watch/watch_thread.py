"""The thread of what the lag process does in addition to its looks."""

import threading
import time
from abc import abstractmethod
from typing import Self

from stream_scorer.closing import Closing
from stream_scorer.errors import StreamScorerError
from stream_scorer.telemetry import LagFailed, Listener


class WatchThread(Closing):
    """Does its work again and again, on a thread of its own, until closed; a failure is reported.

    Args:
        name: Of the thread.
        what: Of the work, for reports of failures.
        listener: Notified of failures.
        every: Seconds from the end of one work to the next one.
        evenly: Whether they are from begin to begin instead, if the work takes less.
    """

    def __init__(
        self, name: str, what: str, listener: Listener, every: float, *, evenly: bool = False
    ) -> None:
        self._what = what
        self._evenly = evenly
        self._listener = listener
        self._every_seconds = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Self:
        """Begin; returns itself."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop, and close the connections."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._release()

    @abstractmethod
    def _work(self) -> None:
        """Do it once."""

    @abstractmethod
    def _release(self) -> None:
        """Close the connections."""

    def _report(self, error: StreamScorerError) -> None:
        self._listener(LagFailed(f"{self._what}: {error}", self._what))

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._work()
            except StreamScorerError as error:
                self._report(error)
            except Exception as error:  # noqa: BLE001 a thread that ends would do nothing more
                detail = f"{self._what}: {type(error).__name__}: {error}"
                self._listener(LagFailed(detail, self._what))
            took = time.monotonic() - began if self._evenly else 0.0
            self._stop.wait(max(self._every_seconds - took, 0.0))
