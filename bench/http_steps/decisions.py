"""``/v1``: answers against the age of the same records' decisions at an independent reader.

One gateway and one scorer run on one Kafka. vegeta sends transactions on a schedule; a reader of
the decisions topic notes when it gets each decision. Both times begin when a request was due.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench.harness.arena import FULL, Arena
from bench.harness.process import Contender, Entry, until
from bench.harness.script import say
from bench.harness.traffic import transactions
from bench.http_steps import machine, open_loop
from bench.http_steps.contenders import Clients
from bench.http_steps.open_loop import OpenLoop
from bench.latency_steps.reader import Reader
from bench.latency_steps.traffic import customers_of
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.ports import Float64
from stream_scorer.producing.transactions import open_feed

RATES: Final = (200, 2_000)
PATH: Final = "/v1/decisions"
WARM_UP_SECONDS: Final = 2.0
_START_SECONDS: Final = 120.0
_LATE_SECONDS: Final = 60.0
_OF_RECORD: Final = (
    "transaction_id", "event_time", "customer_id", "terminal_id", "amount_minor", "currency",
    "channel", "mcc", "country", "card_present", "device_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MeasuredGateway:
    """A gateway and a scorer that are ready.

    Attributes:
        arena: Their Kafka.
        scorer: The scorer's process.
        process: The gateway's process.
        url: Of ``/v1/decisions``.
        clients: Who may ask.
    """

    arena: Arena
    scorer: Contender
    process: Contender
    url: str
    clients: Clients

    @property
    def decisions(self) -> str:
        """The topic of the decisions."""
        return self.scorer.entry.settings.kafka.topics.decisions


def started(
    arena: Arena, name: str, clients: Clients, *command: str, timeout_ms: int = 1_000
) -> MeasuredGateway:
    """Start a scorer and a gateway on topics of their own, and wait until both are ready.

    Args:
        arena: Where.
        name: Of the topics and of the scorers' group.
        clients: Who may ask.
        command: The scorer's, for ``bench/harness/contender.py``; none: ``run``.
        timeout_ms: Of the gateway.
    """
    source = f"{name}.transactions"
    chosen = command or ("run", "--from", "earliest", "--model", FULL)
    scorer = arena.entry(name, source, *chosen, probed=True)
    (port,) = free_ports(1)
    table = {
        "port": port, "access": {"clients_file": str(clients.file)},
        "decisions": {"timeout_ms": timeout_ms},
    }  # fmt: skip
    gateway = arena.entry(
        f"{name}-gateway", source, "serve", "--decisions", "--plan-of", FULL, outputs=name,
        kafka={"group": name}, probed=True, serving=table,
    )  # fmt: skip
    arena.create({source: arena.partitions})
    arena.create_outputs(scorer)
    arena.create_rollout(scorer)
    running = [_process(arena, entry) for entry in (scorer, gateway)]
    for process in running:
        process.begin()
        until(process.ready, f"{process.entry.name} is ready", _START_SECONDS, process)
    return MeasuredGateway(arena, running[0], running[1], f"http://127.0.0.1:{port}{PATH}", clients)


def _process(arena: Arena, entry: Entry) -> Contender:
    environment = {**entry.environment, "PYTHONPATH": str(machine.ROOT)}
    return arena.start(replace(entry, environment=environment))


class TransactionRequests:
    """Simulated transactions as requests; each is sent once.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._rows = transactions(count, customers_of(count))
        table = self._rows.select(_OF_RECORD)
        at = table.schema.get_field_index("event_time")
        times = table.column("event_time").cast(pa.int64())
        self._table = table.set_column(at, "event_time", times)
        self.given = 0

    def next(self, gateway: MeasuredGateway, count: int) -> Iterator[str]:
        """Yield the next requests as lines for vegeta."""
        rows = self._table.slice(self.given, count).to_pylist()
        if len(rows) < count:
            raise SystemExit(f"only {len(self._table)} transactions were made")
        self.given += count
        for row in rows:
            yield open_loop.target_line(
                gateway.url, json.dumps(row).encode(), gateway.clients.headers
            )

    def attack(self, gateway: MeasuredGateway, rate: int, seconds: float, folder: Path) -> OpenLoop:
        """Send the next requests on a schedule, with the answers' bodies."""
        lines = self.next(gateway, round(rate * seconds) + 1)
        return open_loop.attack(lines, rate, seconds, folder, bodies=True)

    def feed(self, gateway: MeasuredGateway, count: int) -> None:
        """Produce the next transactions to the input topic, without the gateway."""
        rows = self._rows.slice(self.given, count)
        self.given += count
        kafka = gateway.scorer.entry.settings.kafka
        with open_feed(kafka, gateway.arena.settings.registry, kafka.topics.transactions) as feed:
            feed.send(rows)


@dataclass(frozen=True, slots=True)
class Answered:
    """The n answers of a turn.

    Attributes:
        latency_ms: float64[n], from when a request was due to its answer.
        age_ms: float64[n], from then to the decision at the reader.
        other: How many requests had another status than 200, by status; 0: no answer.
        slip_ms: float64[n], how late each was sent.
    """

    latency_ms: Float64
    age_ms: Float64
    other: Mapping[int, int]
    slip_ms: Float64


def measure(rounds: int, seconds: float, folder: Path) -> list[dict[str, Any]]:
    """Measure both rates in interleaved rounds; return a row for each rate.

    Args:
        rounds: Of each rate.
        seconds: That count, of each turn.
        folder: For files.
    """
    whole = seconds + WARM_UP_SECONDS
    count = sum(round(rate * whole) + 1 for rate in RATES) * rounds
    requests = TransactionRequests(count)
    turns: dict[int, list[Answered]] = defaultdict(list)
    with Arena() as arena:
        gateway = started(arena, "v1", Clients.made(folder))
        reader = DecisionReading(gateway)
        try:
            for number in range(rounds):
                for rate in RATES if number % 2 == 0 else RATES[::-1]:
                    say(f"round {number + 1}: /v1 at {rate:,}/s")
                    turns[rate].append(_turn(gateway, requests, reader, rate, whole, folder))
        finally:
            reader.stop()
    return [_row(rate, turns[rate]) for rate in RATES]


class DecisionReading:
    """Reads a gateway's decisions on a thread, and notes when each came.

    Args:
        gateway: The gateway.
    """

    def __init__(self, gateway: MeasuredGateway) -> None:
        self._reader = Reader(gateway.arena, gateway.decisions)
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """Decisions so far."""
        return self._reader.count

    def wait(self, count: int) -> None:
        """Wait for a number of decisions.

        Raises:
            SystemExit: They do not come.
        """
        until(
            lambda: self._failure is not None or self._reader.count >= count,
            lambda: f"{self._reader.count} of {count} decisions", _LATE_SECONDS,
        )  # fmt: skip
        if self._failure is not None:
            raise SystemExit(f"reader: {self._failure}")

    def seen(self) -> dict[str, float]:
        """Return when each decision came, seconds since the epoch, by transaction id."""
        return self._reader.by_transaction()

    def stop(self) -> None:
        """Stop reading."""
        self._ending.set()
        self._thread.join()
        self._reader.leave()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._reader.read(self._reader.count + 1, time.time())
        except BaseException as error:  # noqa: BLE001 raised by ``wait``
            self._failure = error


def _turn(
    gateway: MeasuredGateway,
    requests: TransactionRequests,
    reader: DecisionReading,
    rate: int,
    whole: float,
    folder: Path,
) -> Answered:
    before = reader.count
    sent = requests.attack(gateway, rate, whole, folder)
    reader.wait(before + int(np.isin(sent.status, (200, 202)).sum()))
    seen = reader.seen()
    kept = sent.after(WARM_UP_SECONDS)
    good = kept.status == 200
    names = [
        json.loads(body)["transaction_id"]
        for body, fine in zip(kept.bodies, good, strict=True)
        if fine
    ]
    ages = (np.array([seen[name] for name in names]) - kept.due[good]) * 1e3
    return Answered(kept.latency_ms[good], ages, Counter(kept.status[~good].tolist()), kept.slip_ms)


def _row(rate: int, turns: list[Answered]) -> dict[str, Any]:
    def median(of: Callable[[Answered], Float64], share: float) -> float:
        return round(float(np.median([np.percentile(of(turn), share) for turn in turns])), 2)

    return {
        "rate": rate,
        "p50_ms": median(lambda turn: turn.latency_ms, 50),
        "p99_ms": median(lambda turn: turn.latency_ms, 99),
        "stream_p50_ms": median(lambda turn: turn.age_ms, 50),
        "stream_p99_ms": median(lambda turn: turn.age_ms, 99),
        "slip_p99_ms": median(lambda turn: turn.slip_ms, 99),
        "answered": sum(len(turn.latency_ms) for turn in turns),
        "not_200": sum(sum(turn.other.values()) for turn in turns),
        "other": dict(sum((Counter(turn.other) for turn in turns), Counter[int]())),
    }
