"""A hostile request, and the line of a page that documents the answer to it."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.openapi.raw_requests import RawAnswer
from tests.support.openapi.served_api import ServedApi


@dataclass(frozen=True, slots=True)
class HostileRequest:
    """One request.

    Attributes:
        cause: What is wrong with it; unique.
        rule: Name of the documented rule in ``rules.RULES``.
        status: The documented answer.
        send: Sends it, and returns the answer.
        words: What the answer's body contains, so that no other check answers in its place.
    """

    cause: str
    rule: str
    status: int
    send: Callable[[ServedApi], RawAnswer]
    words: str = ""

    @property
    def kind(self) -> str:
        """The first word of its cause."""
        return self.cause.partition(":")[0]

    def wrong(self, answer: RawAnswer) -> str:
        """Return why an answer is not the documented one; empty if it is."""
        if answer.status != self.status:
            return f"{answer.status}, documented is {self.status}: {answer.body[:200]!r}"
        if answer.answers > 1:
            return f"{answer.answers} answers"
        if self.words and self.words not in answer.body.decode("utf-8", "replace"):
            return f"{answer.body[:200]!r} without {self.words!r}"
        return ""
