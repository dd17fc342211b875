"""What a supervisor does about a worker that left: start it again, and when, or end them all."""

import signal
from dataclasses import dataclass

from stream_scorer.errors import StreamScorerError, UnavailableError

FIRST_SECONDS = 0.5
"""Before a worker that had run well is started again."""
MOST_SECONDS = 30.0
"""Between two starts of a worker that leaves again and again."""
STEADY_SECONDS = 60.0
"""Who ran for this long had started well: its next end is a new story."""
UNFINISHED = StreamScorerError.exit_code
"""A process that did not finish within ``scorer.shutdown_seconds``, or crashed."""
SILENT = "silent"
"""The cause of an end that the supervisor brought about: the worker's loop stood still."""

_AGAIN = frozenset({0, UNFINISHED, UnavailableError.exit_code})
_ASKED = frozenset({0, -signal.SIGTERM, -signal.SIGINT})


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the worker again after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class EndAll:
    """End the other workers in order and leave with ``code``: a restart would fix nothing."""

    code: int


class Supervision:
    """Decides, without a clock or a process of its own.

    A worker that was killed, also for its silence, crashed, lost its broker or was ended by a
    signal of somebody's own is started again; each time in a row after twice as long. Any other
    exit code says that the same start would end the same way, or, of a fenced worker, that two
    would duel for ever.

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
        """Say what to do about a worker that left unasked.

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
    """Return what an exit code says, for logs and metrics; a small set.

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
    """Return the parent's exit code when the workers that it asked to leave have left.

    Args:
        asked: The code for which they were asked: 0 for a signal, else a worker's own.
        exit_codes: Those of the workers that were asked, by number.

    Returns:
        ``asked`` if it is an error's own; else the most telling of the workers' codes.
    """
    if asked:
        return asked
    failed = {code for code in exit_codes.values() if code not in _ASKED}
    own = {code for code in failed if code > UNFINISHED}
    return min(own, default=UNFINISHED if failed else 0)
