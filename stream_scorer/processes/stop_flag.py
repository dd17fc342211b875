"""A stop signal that a command polls at suitable points, instead of being interrupted."""

import signal
from types import FrameType
from typing import Any, Self

_ASKED_BY = (signal.SIGTERM, signal.SIGINT)
_OF_A_SIGNAL = 128
"""A shell's exit codes for processes ended by a signal begin here."""


class StopRequest:
    """Whether SIGTERM or SIGINT was received within the context; a second one ends the process.

    Attributes:
        name: Of the received signal; empty before.
        exit_code: Exit code to use then: 130 after SIGINT, 143 after SIGTERM, as for a process
            that the signal itself ended.
    """

    def __init__(self) -> None:
        self.name = ""
        self.exit_code = 0
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Return whether to stop."""
        return bool(self.name)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self.exit_code = _OF_A_SIGNAL + number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._heard) for each in _ASKED_BY}
        return self

    def __exit__(self, *_: object) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)
