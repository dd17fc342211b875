"""Requests for an application without a server: heads and bodies as Granian hands them over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field


@dataclass
class FakeFields:
    """Header fields; ``hidden`` is how many names have only values that are not visible ASCII."""

    sent: Sequence[tuple[str, str]] = ()
    hidden: int = 0

    def __len__(self) -> int:
        return len({name for name, _ in self.sent}) + self.hidden

    def items(self) -> Sequence[tuple[str, str]]:
        return list(self.sent)

    def get(self, name: str, default: None = None) -> str | None:
        return next((value for key, value in self.sent if key == name), default)


@dataclass
class FakeScope:
    method: str = "GET"
    path: str = "/"
    sent: Sequence[tuple[str, str]] = (("host", "x"),)
    query_string: str = ""
    client: str = "192.0.2.7:1234"
    scheme: str = "http"
    http_version: str = "1.1"
    authority: str | None = None
    hidden: int = 0

    @property
    def headers(self) -> FakeFields:
        return FakeFields(self.sent, self.hidden)


@dataclass
class FakeProtocol:
    """A body of parts, and the answer that it was given.

    Attributes:
        parts: What a client sends.
        cut: Whether the connection ends before the body does.
        slow: Whether the body never ends.
    """

    parts: Sequence[bytes] = ()
    cut: bool = False
    slow: bool = False
    read: bool = False
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __call__(self) -> Awaitable[bytes]:
        return self._all()

    async def _all(self) -> bytes:
        self.read = True
        if self.slow:
            await asyncio.Event().wait()
        if self.cut:
            raise RuntimeError("RSGI transport error")
        return b"".join(self.parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.read = True
        for part in self.parts:
            yield part
        if self.slow:
            await asyncio.Event().wait()
        if self.cut:
            yield b""
        yield b""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.response_bytes(status, headers, b"")
