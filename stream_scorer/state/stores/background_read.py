"""Runs a read that may block for long on a thread with a deadline, for a loop that must not."""

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from stream_scorer.errors import UnavailableError
from stream_scorer.ports import StoredRecords

ANSWER_SECONDS = 60.0
"""A store that returns nothing for so long counts as not answering."""
_TURN_SECONDS = 0.01

_Answer = StoredRecords | BaseException | None


def in_background(
    read: Callable[[], Iterator[StoredRecords]], late: Callable[[float], UnavailableError]
) -> Iterator[StoredRecords]:
    """Yield what a read yields; an empty list whenever there is nothing yet.

    The read runs on a separate thread, one step per request. A step that never ends occupies only
    that thread, until the process ends.

    Args:
        read: Yields some records at a time, and may block.
        late: Returns the error for a read that returned nothing for so many seconds.

    Raises:
        UnavailableError: The read returned nothing for ``ANSWER_SECONDS``.
        BaseException: What the read raises.
    """
    asked: SimpleQueue[bool] = SimpleQueue()
    answers: SimpleQueue[_Answer] = SimpleQueue()
    threading.Thread(
        target=_steps, args=(read, asked, answers), name="checkpoints", daemon=True
    ).start()
    try:
        while True:
            asked.put(True)
            until = time.monotonic() + ANSWER_SECONDS
            while (answer := _within(answers, _TURN_SECONDS)) is _NOTHING:
                if time.monotonic() > until:
                    raise late(ANSWER_SECONDS)
                yield []
            if answer is None:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        asked.put(False)


_NOTHING: StoredRecords = []


def _within(answers: "SimpleQueue[_Answer]", seconds: float) -> _Answer:
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return _NOTHING


def _steps(
    read: Callable[[], Iterator[StoredRecords]],
    asked: "SimpleQueue[bool]",
    answers: "SimpleQueue[_Answer]",
) -> None:
    found = read()
    while asked.get():
        try:
            answers.put(next(found, None))
        except BaseException as error:  # noqa: BLE001 it is raised where the answer is read
            answers.put(error)
            return
