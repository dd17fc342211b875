"""Runs library calls that ignore their time limit on a thread, so that they can be abandoned.

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
    """Makes one client's calls on a separate thread, one at a time.

    Args:
        name: Of the thread.

    Attributes:
        left: Whether a call was abandoned. No further call can be made then.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: SimpleQueue[Work | None] = SimpleQueue()
        self._answered: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.left = False

    def call(self, work: Work, seconds: float) -> None:
        """Run some work on the thread and wait for its end.

        Args:
            work: What it uses must live as long as it runs, which may be longer than this call.
            seconds: Time limit.

        Raises:
            KafkaException: ``_TIMED_OUT``, and fatal to the client: this call or an earlier one
                exceeded its limit.
            Exception: What the work raises.
        """
        if not self.left:
            if self._thread is None:
                # A daemon: a call that never returns must not keep the process alive.
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._asked.put(work)
            try:
                raised = self._answered.get(timeout=seconds)
            except Empty:
                self.left = True
            else:
                if raised is None:
                    return
                try:
                    raise raised
                finally:
                    # Its traceback refers to this frame and its callers', with all their arrays.
                    del raised
        raise KafkaException(
            KafkaError(
                KafkaError._TIMED_OUT,  # noqa: SLF001 the binding's own name
                f"no answer within {seconds:g} s, which the client does not notice",
                fatal=True,
            )
        )

    def end(self, free: Callable[[], Any]) -> None:
        """Free the client: immediately, or when an abandoned call returns."""
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
            # Neither the work nor its error may stay referenced until the next call.
            del work
            self._answered.put(raised)
            del raised


def _after(thread: threading.Thread, free: Callable[[], Any]) -> None:
    thread.join()
    free()
