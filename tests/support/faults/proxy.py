"""A proxy for the Kafka protocol that can hold, drop and release single requests and answers.

It also simulates latency, bandwidth, a black hole, resets and half-open connections, and counts
what it did.

A broker that advertises the proxy's address is reached only through it. Frames are a length of
four bytes and a body; a request's body begins with its API key, version and correlation id, an
answer's with the correlation id of its request.
"""

import asyncio
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Any, Literal, Self

from stream_scorer.devkafka import DevKafka
from tests.support.faults.network_conditions import Counters, Lane, Weather
from tests.support.faults.process import ScorerProcess, wait_until

HOST = "127.0.0.1"
_SECONDS = 30.0
_CONCURRENT_TRANSACTIONS = struct.pack(">h", 51)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Direction = Literal["request", "answer"]
Action = Literal["drop", "hold"]


class Api(IntEnum):
    """The requests of a transactional producer."""

    PRODUCE = 0
    FIND_COORDINATOR = 10
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    ADD_OFFSETS = 25
    END_TXN = 26
    OFFSET_COMMIT = 28


@dataclass(slots=True)
class Fault:
    """A fault for the next frames of a kind.

    Attributes:
        api: Which requests, or the answers to them.
        direction: Which of both.
        action: ``drop`` forgets a frame; ``hold`` keeps a request until :meth:`Proxy.release`.
        left: How many frames it still applies to.
        after: How many frames of the kind still pass before it.
        client: Only of the client with this client id; empty: of all.
        hit: Set once it was applied.
        held: Requests that are kept, with their connections.
    """

    api: Api
    direction: Direction
    action: Action
    left: int = 1
    after: int = 0
    client: str = ""
    hit: threading.Event = field(default_factory=threading.Event)
    held: list[tuple[Connection, bytes]] = field(default_factory=list)


class Proxy:
    """Proxies one broker, on a separate thread, as long as the context lasts.

    Args:
        port: Where it listens.

    Attributes:
        upstream: host:port of the broker; set before the first connection.
        weather: The network's conditions; change them at any time.
        counters: What was done so far.
    """

    def __init__(self, port: int) -> None:
        self.address = f"{HOST}:{port}"
        self.upstream = ""
        self.weather = Weather()
        self.counters = Counters()
        self._port = port
        self._faults: list[Fault] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._links: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._half_open: set[asyncio.StreamWriter] = set()
        self._parted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def fault(
        self,
        api: Api,
        direction: Direction,
        action: Action = "drop",
        times: int = 1,
        *,
        after: int = 0,
        client: str = "",
    ) -> Fault:
        """Add a fault for the next frames of a kind, once some have passed."""
        made = Fault(api, direction, action, times, after, client)
        self._call(self._arm(made))
        return made

    def release(self, fault: Fault) -> None:
        """Send the requests that a fault holds, whose client is gone, and await their answers.

        While the broker is busy with a transaction it asks for the end of it again, as of any
        client; such an end has not come yet.
        """
        self._call(self._release(fault))

    def reset(self) -> None:
        """Break every connection."""
        self._call(self._reset())

    def half_open(self) -> None:
        """Close the broker's side of every connection without notice to the clients."""
        self._call(self._break_upstream())

    def forget(self, fault: Fault) -> None:
        """Remove a fault; its held requests are lost."""
        self._call(self._forget(fault))

    def calm(self) -> None:
        """Reset the network conditions and remove all faults."""
        self.weather.become(Weather())
        for fault in list(self._faults):
            self.forget(fault)

    # -- on the proxy's own thread ----------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    async def _arm(self, fault: Fault) -> None:
        self._faults.append(fault)

    async def _release(self, fault: Fault) -> None:
        while any(writer in self._links.values() for (_, writer), _ in fault.held):
            # Until its client is gone, the answer would go to another request.
            self._parted.clear()
            await self._parted.wait()
        self._faults.remove(fault)
        for (reader, writer), frame in fault.held:
            while True:
                writer.write(frame)
                answer = await _read(reader)
                if not _busy(fault.api, answer):
                    break
            writer.transport.abort()
            self.counters.released += 1
        fault.held.clear()

    async def _forget(self, fault: Fault) -> None:
        self._faults.remove(fault)
        for (_, writer), _ in fault.held:
            writer.transport.abort()
        fault.held.clear()

    async def _reset(self) -> None:
        self.counters.reset += len(self._links)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _break_upstream(self) -> None:
        for client, broker in self._links.items():
            self._half_open.add(client)
            self.counters.half_open += 1
            broker.transport.abort()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self._port)

    async def _stop(self) -> None:
        self._server.close()
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        host, _, port = self.upstream.partition(":")
        try:
            broker = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError):
            # There is no broker now.
            writer.transport.abort()
            return
        asked: dict[int, tuple[int, str]] = {}
        self._writers |= {writer, broker[1]}
        self._links[writer] = broker[1]
        there, back = (Lane(to, self.weather, self.counters) for to in (broker[1], writer))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(reader, broker, asked, there))
                both.create_task(self._answers(broker[0], asked, back))
                both.create_task(there.run())
                both.create_task(back.run())
        except* (OSError, asyncio.IncompleteReadError):
            pass  # If one side is gone, so is the other, except for held requests.
        finally:
            del self._links[writer]
            self._parted.set()
            self._writers -= {broker[1]}
            if writer in self._half_open:
                await _ignore(reader)
            self._half_open.discard(writer)
            self._writers -= {writer}
            writer.transport.abort()
            if not any(broker is to for fault in self._faults for to, _ in fault.held):
                broker[1].transport.abort()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        broker: Connection,
        asked: dict[int, tuple[int, str]],
        there: Lane,
    ) -> None:
        """Pass requests on, but for those that faults are done to; note what each asked."""
        while True:
            frame = await _read(reader)
            api, _, correlation = struct.unpack(">hhi", frame[4:12])
            client = _client_of(frame)
            asked[correlation] = api, client
            if api in self.weather.cut:
                self.counters.cut += 1
                continue
            fault = self._match(api, client, "request")
            if fault is None:
                there.put(frame)
                continue
            if fault.action == "hold":
                fault.held.append((broker, frame))
                self.counters.held += 1
            else:
                self.counters.dropped += 1
            fault.hit.set()

    async def _answers(
        self, reader: asyncio.StreamReader, asked: dict[int, tuple[int, str]], back: Lane
    ) -> None:
        """Pass answers on, but for those that are dropped."""
        while True:
            frame = await _read(reader)
            (correlation,) = struct.unpack(">i", frame[4:8])
            fault = self._match(*asked.pop(correlation, (-1, "")), "answer")
            if fault is None:
                back.put(frame)
            else:
                self.counters.dropped += 1
                fault.hit.set()

    def _match(self, api: int, client: str, direction: Direction) -> Fault | None:
        for fault in self._faults:
            if fault.client not in {"", client}:
                continue
            if fault.left and fault.api == api and fault.direction == direction:
                if fault.after:
                    fault.after -= 1
                    continue
                fault.left -= 1
                return fault
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class Behind:
    """A Kafka that its clients reach through a proxy only."""

    kafka: DevKafka
    proxy: Proxy

    @property
    def bootstrap(self) -> str:
        """Where clients begin."""
        return self.kafka.bootstrap

    def kill_in_a_transaction(self, process: ScorerProcess, *, after: int = 0) -> None:
        """Kill a process whose request to end its transaction is on its way, and never arrives.

        No other process may have a transaction meanwhile. It ends as many others before as given.
        """
        self.kill_at(self.proxy.fault(Api.END_TXN, "request", after=after), process)

    def kill_at(self, end: Fault, process: ScorerProcess) -> None:
        """Kill a process at a fault, for one that might be done before the fault is added."""
        wait_until(
            lambda: end.hit.is_set() or not process.alive, lambda: f"a commit: {process.said}"
        )
        assert process.alive, process.said
        process.kill()


def _busy(api: Api, answer: bytes) -> bool:
    """Whether a transaction's end is refused because the broker writes down a step of it.

    Up to version 2 an answer is its length, the request's number, a throttle and the error.
    """
    return api == Api.END_TXN and answer[12:14] == _CONCURRENT_TRANSACTIONS


def _client_of(frame: bytes) -> str:
    """Return the client id of a request, which is after its number; empty without one."""
    (length,) = struct.unpack(">h", frame[12:14].rjust(2, b"\0"))
    return frame[14 : 14 + max(length, 0)].decode(errors="replace")


async def _ignore(reader: asyncio.StreamReader) -> None:
    """Read what a client sends without answering, until it disconnects."""
    with suppress(OSError):
        while await reader.read(65_536):
            pass


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return the next frame, its length included."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])
