"""The conditions of the network between clients and a broker: slow, narrow, or losing frames."""

import asyncio
import time
from dataclasses import dataclass, fields

_STEP_SECONDS = 0.05


@dataclass(slots=True)
class Counters:
    """What a proxy has done to its connections since its start, in frames unless noted otherwise.

    Attributes:
        delayed: Delayed by the latency.
        throttled_bytes: Bytes that waited for bandwidth.
        swallowed: Lost in the black hole, requests and answers.
        cut: Requests of a kind whose path is cut.
        held: Requests kept back.
        dropped: Requests and answers dropped.
        released: Requests that were kept back and then sent.
        reset: Connections reset.
        half_open: Connections closed on the broker's side without notice to the client.
    """

    delayed: int = 0
    throttled_bytes: int = 0
    swallowed: int = 0
    cut: int = 0
    held: int = 0
    dropped: int = 0
    released: int = 0
    reset: int = 0
    half_open: int = 0

    def total(self) -> int:
        """Return the sum of all."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(slots=True)
class Weather:
    """The state of the network; may be changed at any time.

    Attributes:
        latency_seconds: How long each frame takes in each direction.
        bytes_per_second: Bandwidth in each direction of each connection; 0 is unlimited.
        black_hole: Whether every frame is lost while connections stay open.
        cut: API keys of requests that do not pass, as if only their path were down.
    """

    latency_seconds: float = 0.0
    bytes_per_second: float = 0.0
    black_hole: bool = False
    cut: frozenset[int] = frozenset()

    def become(self, other: "Weather") -> None:
        """Change into another weather."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


class Lane:
    """One direction of a connection: sends frames in order, each at its time.

    Args:
        writer: Where frames are written.
        weather: The network's conditions.
        counters: Updated for each frame.
    """

    def __init__(self, writer: asyncio.StreamWriter, weather: Weather, counters: Counters) -> None:
        self._writer = writer
        self._weather = weather
        self._counters = counters
        self._frames: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    def put(self, frame: bytes) -> None:
        """Send a frame on its way."""
        delay = self._weather.latency_seconds
        self._counters.delayed += delay > 0
        self._frames.put_nowait((time.monotonic() + delay, frame))

    async def run(self) -> None:
        """Carry frames until the connection ends."""
        while True:
            due, frame = await self._frames.get()
            await asyncio.sleep(max(due - time.monotonic(), 0))
            if self._weather.black_hole:
                self._counters.swallowed += 1
                continue
            if self._weather.bytes_per_second:
                self._counters.throttled_bytes += len(frame)
                await self._squeeze(len(frame))
            self._writer.write(frame)
            await self._writer.drain()

    async def _squeeze(self, size: float) -> None:
        """Wait as long as so many bytes take, or until the limit is removed."""
        while size > 0 and (rate := self._weather.bytes_per_second):
            await asyncio.sleep(min(size / rate, _STEP_SECONDS))
            size -= rate * _STEP_SECONDS
