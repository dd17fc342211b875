"""Reads the demo's outputs while another thread sends."""

import threading
from dataclasses import dataclass, field
from typing import Final, Self

from stream_scorer.demo.verifier import Verifier

_STEP_SECONDS: Final = 0.05


@dataclass(slots=True)
class VerifierThread:
    """Runs a verifier on a separate thread, so that it reads while this one sends."""

    verifier: Verifier
    failure: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.verifier.read_more(_STEP_SECONDS)
        except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
            self.failure = error
