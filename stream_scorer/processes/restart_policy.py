"""What a supervisor does about a worker that exited: restart it after a delay, or end them all."""

import signal
from dataclasses import dataclass

from stream_scorer.errors import StreamScorerError, UnavailableError

FIRST_SECONDS = 0.5
"""Delay before a worker that had run well is restarted, seconds."""
MOST_SECONDS = 30.0
"""Maximum delay between two starts of a worker that exits repeatedly, seconds."""
STEADY_SECONDS = 60.0
"""A worker that ran for this long had started well: the delays begin again."""
UNFINISHED = StreamScorerError.exit_code
"""Exit code of a process that crashed or did not finish within ``scorer.shutdown_seconds``."""
SILENT = "silent"
"""The cause of an end by the supervisor: the worker's loop made no progress."""

_AGAIN = frozenset({0, UNFINISHED, UnavailableError.exit_code})
_ASKED = frozenset({0, -signal.SIGTERM, -signal.SIGINT})


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart the worker after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class EndAll:
    """End the other workers gracefully and exit with ``code``: a restart would not help."""

    code: int


class Supervision:
    """The decision, without a clock or processes.

    A worker that was killed (also for its silence), crashed, lost its broker or was ended by
    someone's signal is restarted with exponential backoff. Any other exit code means that a restart
    would end the same way, or, for a fenced worker, that two would fence each other for ever.

    Example:
        >>> supervision = Supervision()
        >>> supervision.left(0, -9, ran_seconds=3_600.0), supervision.left(0, -9, ran_seconds=2.0)
        (Restart(seconds=0.5), Restart(seconds=1.0))
        >>> supervision.left(1, 6, ran_seconds=2.0)
        EndAll(code=6)
    """

    def __init__(self) -> None:
        self._in_a_row: dict[int, int] = {}

    def left(self, worker: int, exit_code: int, ran_seconds: float) -> Restart | EndAll:
        """Return what to do about a worker that exited without being asked to.

        Args:
            worker: Its number.
            exit_code: As a parent sees it: negative is the signal that killed it.
            ran_seconds: How long it ran.
        """
        if exit_code > 0 and exit_code not in _AGAIN:
            return EndAll(exit_code)
        row = 0 if ran_seconds >= STEADY_SECONDS else self._in_a_row.get(worker, 0)
        self._in_a_row[worker] = row + 1
        return Restart(min(FIRST_SECONDS * 2.0 ** min(row, 16), MOST_SECONDS))


def cause_of(exit_code: int) -> str:
    """Return the meaning of an exit code, for logs and metrics; a small set.

    Example:
        >>> cause_of(-9), cause_of(5)
        ('SIGKILL', 'exit 5')
    """
    if exit_code >= 0:
        return f"exit {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def parting_code(asked: int, exit_codes: dict[int, int]) -> int:
    """Return the parent's exit code after the workers that it stopped have exited.

    Args:
        asked: The code for which they were stopped: 0 for a signal, else a worker's own.
        exit_codes: Those of the stopped workers, by number.

    Returns:
        ``asked`` if it is an error's own; else the most informative of the workers' codes.
    """
    if asked:
        return asked
    failed = {code for code in exit_codes.values() if code not in _ASKED}
    own = {code for code in failed if code > UNFINISHED}
    return min(own, default=UNFINISHED if failed else 0)
