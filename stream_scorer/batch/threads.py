"""Pipeline stages on threads: input is prepared ahead, output is written afterwards."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

T = TypeVar("T")
_AHEAD = 2


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield items that a separate thread makes, a few ahead."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        made = deque(thread.submit(next, items, end) for _ in range(_AHEAD))
        while (item := made.popleft().result()) is not end:
            made.append(thread.submit(next, items, end))
            yield item  # type: ignore[misc]  # the end is recognised by identity


class Behind:
    """Runs work on a separate thread, in order.

    After a failure, later work is not done: a part must not be recorded as written after a failed
    write.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._doing: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._failed = True
        self._thread.shutdown()

    def do(self, work: Callable[..., None], *arguments: object) -> None:
        """Queue some work; raises the failure of earlier work."""
        self._doing.append(self._thread.submit(self._do, work, *arguments))
        while len(self._doing) > _AHEAD:
            self._doing.popleft().result()

    def wait(self) -> None:
        """Wait until all work is done; raises its failure."""
        while self._doing:
            self._doing.popleft().result()

    def _do(self, work: Callable[..., None], *arguments: object) -> None:
        if self._failed:
            return
        try:
            work(*arguments)
        except BaseException:
            self._failed = True
            raise
