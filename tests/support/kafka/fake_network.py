"""The network between a fake producer and the fake broker: loses, holds and repeats requests.

A request that is held arrives when the test releases it, whether its client still exists or not.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from confluent_kafka import KafkaError

from tests.support.kafka.fake_broker import Clock, Refused

Api = Literal["init", "partitions", "produce", "offsets", "offset_commit", "end"]
Kind = Literal["request lost", "answer lost", "held", "repeated", "released", "stood still"]
Sign = Literal["reset", "timeout", "quiet"]
Answer = TypeVar("Answer")


class Lost(Exception):  # noqa: N818 an outcome that the client handles
    """No answer came, and the client is to ask again."""


@dataclass(slots=True)
class Fault:
    """What happens to the next requests of a kind.

    Attributes:
        api: Which request.
        kind: What happens to it. ``released``: a held request arrives before it. ``stood still``:
            the client is suspended before it.
        sign: What the client sees of it: a broken connection, or a connection closed after waiting
            for an answer, or only the time that it took.
        times: How many requests in a row.
        still: What happens while the client is suspended.
    """

    api: Api
    kind: Kind
    sign: Sign = "reset"
    times: int = 1
    still: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Network:
    """One process's connection to the broker.

    Attributes:
        clock: Moved while waiting for an answer.
        held: Requests that were held, of all processes.
        plan: What happens to the next requests.
        eager: Whether records are sent immediately, or when the transaction is committed.
        errors: Errors for the client's next call that serves callbacks.
        fired: What happened so far.
    """

    clock: Clock
    held: list[Callable[[], Any]] = field(default_factory=list)
    plan: list[Fault] = field(default_factory=list)
    eager: bool = True
    errors: list[KafkaError] = field(default_factory=list)
    fired: list[Fault] = field(default_factory=list)

    def send(self, api: Api, ask: Callable[[], Answer], wait: float) -> Answer:
        """Send a request and return its answer.

        Args:
            api: Its kind.
            ask: Carries it out on the broker.
            wait: Time limit for the answer, seconds.

        Raises:
            Refused: The answer is an error.
            Lost: There is none.
        """
        fault = next((each for each in self.plan if each.api == api), None)
        if fault is None:
            return ask()
        self.fired.append(fault)
        fault.times -= 1
        if fault.times == 0:
            self.plan.remove(fault)
        if fault.kind == "stood still":
            fault.still()
            return ask()
        if fault.kind == "released":
            self.release()
            return ask()
        if fault.kind == "repeated" and api != "init":
            answer = ask()
            with suppress(Refused):
                ask()
            return answer
        if fault.kind == "held":
            self.held.append(ask)
        elif fault.kind != "request lost":
            with suppress(Refused):
                ask()
        self._lose(fault.sign if api in ("init", "end") or fault.sign != "quiet" else "reset", wait)
        raise Lost

    def _lose(self, sign: Sign, wait: float) -> None:
        if sign != "reset":
            self.clock.sleep(wait)
        if sign == "reset":
            self.errors.append(KafkaError(KafkaError._TRANSPORT))
        elif sign == "timeout":
            self.errors.append(KafkaError(KafkaError._TIMED_OUT))

    def release(self) -> None:
        """Deliver all held requests; their answers are lost."""
        held = self.held[:]
        self.held.clear()
        for ask in held:
            with suppress(Refused):
                ask()
