"""Sends hostile records among good ones, on a real broker, to a running scorer.

Rounds without and with hostile records alternate. Each record of a hostile client names a different
schema, which the registry provides. Nothing may be lost or decided twice, and the ages of the good
records' decisions are compared.
"""

import json
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np
from confluent_kafka import Producer

from bench.harness.arena import FULL, PARTITIONS, Arena
from bench.harness.script import missed
from bench.hostile_cases.data import records, schemas
from bench.hostile_cases.data.decoding import HOSTILE_ID, Attack
from bench.hostile_cases.host.requests import Answering, served
from bench.latency_steps.reader import Reader
from bench.latency_steps.stages import row_number
from stream_scorer.demo.verifier import verify
from stream_scorer.errors import SchemaError
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import Float64
from stream_scorer.registry.sources import FileRegistry

RATE, SECONDS, ROUNDS = 2_000, 15, 3
HOSTILE_PER_SECOND: Final = 20
MOST_RATIO: Final = 2.0
_FIRST_ID: Final = 100_000
"""The first id of the attacks' schemas."""
_UNKNOWN_ID: Final = 10_000_000
_WARM_UP_SECONDS: Final = 4
_LATE_SECONDS: Final = 90.0
_START_SECONDS: Final = 180.0


def attacks() -> list[Attack]:
    """Return every attack by a record and its schema."""
    cases = (*schemas.CASES, *records.CASES)
    return [case.run for case in cases if isinstance(case.run, Attack)]


def registry(files: FileRegistry, strangers: Sequence[str]) -> AbstractContextManager[str]:
    """Serve the shipped schemas and the attackers'; the context returns the URL."""

    class Handler(Answering):
        protocol_version = "HTTP/1.1"

        def get(self, path: str) -> None:
            if not path.startswith("/schemas/ids/"):
                self._answer(lambda: {"compatibilityLevel": "BACKWARD"})
                return
            number = int(path.removeprefix("/schemas/ids/").partition("/")[0])
            stranger = 0 <= number - _FIRST_ID < len(strangers)
            self._answer(
                lambda: {
                    "schema": strangers[number - _FIRST_ID]
                    if stranger
                    else files.writer_schema(number)
                }
            )

        def post(self, path: str) -> None:
            schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
            subject = path.split("/")[2]
            found = {"subject": subject, "version": 1, "schema": schema}
            self._answer(lambda: {"id": files.id_for(subject, schema)} | found)

        def _answer(self, document: Callable[[], dict[str, Any]]) -> None:
            try:
                self.send(200, json.dumps(document()).encode())
            except SchemaError:
                self.send(404, b'{"error_code":40403,"message":"Schema not found"}')

    return served(Handler)


class Stranger(threading.Thread):
    """Sends hostile records to a topic, some a second, until stopped.

    Args:
        arena: Where.
        topic: The input.
        values: Sent one after another, together with records of unknown ids.
    """

    def __init__(self, arena: Arena, topic: str, values: Sequence[bytes | None]) -> None:
        super().__init__(name="stranger", daemon=True)
        self.sent = 0
        self._options = client_options.common(arena.settings.kafka) | {"linger.ms": 5}
        self._topic = topic
        self._values = values
        self._over = threading.Event()

    def run(self) -> None:
        """Send."""
        producer: Any = Producer(self._options)
        while not self._over.wait(1 / HOSTILE_PER_SECOND):
            value = self._values[self.sent % len(self._values)]
            if self.sent % HOSTILE_PER_SECOND < PARTITIONS:
                # Once a second in every partition, an unknown id.
                value = b"\0" + (_UNKNOWN_ID + self.sent).to_bytes(4, "big") + b"x"
            producer.produce(self._topic, value, b"c-%d" % self.sent, self.sent % PARTITIONS)
            producer.poll(0)
            self.sent += 1
        producer.flush(_LATE_SECONDS)

    def stop(self) -> int:
        """Send no more; return how many were sent."""
        self._over.set()
        self.join()
        return self.sent


def ages(arena: Arena, source: str, seen: Mapping[str, float]) -> Float64:
    """Return float64[n], ages of the good records' decisions after the warm-up, in ms.

    Args:
        arena: Where.
        source: The input, whose records have their scheduled time.
        seen: When a reader saw each decision, seconds since the epoch, by transaction id.
    """
    due = {
        str(number): message.timestamp()[1]
        for message in arena.outputs(source)
        if (number := row_number(message.value() or b"")) is not None
    }
    start = min(due.values()) + _WARM_UP_SECONDS * 1_000
    return np.array(
        [seen[row] * 1_000 - at for row, at in due.items() if at >= start and row in seen]
    )


def turn(arena: Arena, name: str, url: str, values: Sequence[bytes | None]) -> dict[str, Any]:
    """Run the scorer once; with no values it is undisturbed."""
    source, count = f"{name}.transactions", RATE * SECONDS
    arena.create({source: PARTITIONS})
    entry = arena.entry(
        name, source, "run", "--from", "earliest", "--model", FULL, registry={"url": url}
    )
    arena.create_outputs(entry)
    scorer = arena.start(entry)
    producer = arena.start(
        arena.entry(f"{name}-producer", source, "schedule", str(RATE), str(count))
    )
    for process in (scorer, producer):
        process.wait_ready()
    scorer.go()
    arena.wait_committed(scorer, 0, _START_SECONDS)
    reader = Reader(arena, entry.settings.kafka.topics.decisions)
    stranger = Stranger(arena, source, values)
    producer.go()
    if values:
        stranger.start()
    reader.read(count, time.time() + SECONDS + _LATE_SECONDS)
    sent = stranger.stop() if values else 0
    scorer.refuse_death()
    arena.wait_committed(scorer, count + sent, _LATE_SECONDS)
    scorer.stop()
    reader.leave()
    found_ages = ages(arena, source, reader.by_transaction())
    found = verify(entry.settings.kafka, arena.settings.registry)
    return {
        "p99_ms": round(float(np.percentile(found_ages, 99)), 1),
        "hostile": sent,
        "dead_letters": found.dead_letters,
        "lost": found.missing,
        "duplicates": found.duplicates,
    }


def measure(say: Callable[[str], None] = lambda _: None, rounds: int = ROUNDS) -> dict[str, Any]:
    """Run turns without and with hostile records; return the report."""
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    chosen = attacks()
    texts = [attack.schema() for attack in chosen]
    values: list[bytes | None] = []
    for number, attack in enumerate(chosen):
        value = attack.value()
        if value is not None and value[1:5] == HOSTILE_ID.to_bytes(4, "big"):
            value = b"\0" + (_FIRST_ID + number).to_bytes(4, "big") + value[5:]
        values.append(value)
    with Arena() as arena, registry(arena.registry, texts) as url:
        turn(arena, "warm-up", url, [])
        for number in range(rounds):
            for hostile in (False, True) if number % 2 == 0 else (True, False):
                name = f"{'hostile' if hostile else 'quiet'}-{number}"
                done = turn(arena, name, url, values if hostile else [])
                found[hostile].append(done)
                say(f"{name}: {done}")
    quiet, hostile_p99 = (
        statistics.median(each["p99_ms"] for each in found[which]) for which in (False, True)
    )
    every = [*found[False], *found[True]]
    return {
        "rounds": rounds,
        "rate": RATE,
        "hostile": sum(each["hostile"] for each in every),
        "dead_letters": sum(each["dead_letters"] for each in every),
        "lost": sum(each["lost"] for each in every),
        "duplicates": sum(each["duplicates"] for each in every),
        "quiet_p99_ms": quiet,
        "hostile_p99_ms": hostile_p99,
        "p99_ratio": round(hostile_p99 / quiet, 2),
    }


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each missed gate."""
    return missed(
        ("load: {} lost", document["lost"], "==", 0),
        ("load: {} duplicates", document["duplicates"], "==", 0),
        ("load: p99 of good records is {} x", document["p99_ratio"], "<=", MOST_RATIO),
    )
