"""Calls of the library that ignore their time limit, made where they can be left behind.

``send_offsets_to_transaction`` takes a time limit and does not keep it while the group's
coordinator cannot be found (docs/adr/0033-send-offsets-can-hang.md). The call cannot be cancelled,
and its client must not be freed under it.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from confluent_kafka import KafkaError, KafkaException

Work = Callable[[], object]


class BoundedCalls:
    """Makes one client's calls on a thread of their own, one at a time.

    Args:
        name: Of the thread.

    Attributes:
        left: Whether a call was given up. No further one can be made.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: SimpleQueue[Work | None] = SimpleQueue()
        self._answered: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.left = False

    def call(self, work: Work, seconds: float) -> None:
        """Do some work and wait for its end.

        Args:
            work: Whatever it uses must live for as long as it runs, which may be longer than this.
            seconds: How long it may take.

        Raises:
            KafkaException: ``_TIMED_OUT``, and fatal to the client: it took longer, or an earlier
                one did.
            Exception: Whatever the work raises.
        """
        if not self.left:
            if self._thread is None:
                # A daemon: a call that never comes back must not keep the process.
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._asked.put(work)
            try:
                raised = self._answered.get(timeout=seconds)
            except Empty:
                self.left = True
            else:
                if raised is not None:
                    raise raised
                return
        raise KafkaException(
            KafkaError(
                KafkaError._TIMED_OUT,  # noqa: SLF001 the binding's own name
                f"no answer within {seconds:g} s, which the client does not notice",
                fatal=True,
            )
        )

    def end(self, free: Callable[[], Any]) -> None:
        """Free the client: at once, or when the call that was left behind has come back."""
        thread, self._thread = self._thread, None
        if thread is None:
            free()
            return
        self._asked.put(None)
        if self.left:
            threading.Thread(
                target=_after, args=(thread, free), name=f"{self._name}-end", daemon=True
            ).start()
        else:
            thread.join()
            free()

    def _serve(self) -> None:
        while (work := self._asked.get()) is not None:
            raised: BaseException | None = None
            try:
                work()
            except BaseException as error:  # noqa: BLE001 it is the caller's to handle
                raised = error
            # Neither the work nor its error may live on here until the next call.
            del work
            self._answered.put(raised)
            del raised


def _after(thread: threading.Thread, free: Callable[[], Any]) -> None:
    thread.join()
    free()
