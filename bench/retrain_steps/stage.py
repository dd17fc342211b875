"""The stage of the bench: a broker, keys, a store, and one process of each kind."""

import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer

from bench.harness.script import say
from bench.retrain_steps.city import City, CityDay, labels_of
from stream_scorer.codec.writing.encode import Choice, ColumnEncoder
from stream_scorer.devkafka import DevKafka
from stream_scorer.devkafka.child import as_environment
from stream_scorer.kafka.topics.client_options import common
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.producing.transactions import open_feed
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.keys import generate, read_private
from stream_scorer.settings import Settings, load_settings

PARTITIONS = 2
_CHUNKS = 4
_WAIT_SECONDS = 240.0
_MAIN = "from stream_scorer.cli.main import main; main()"


def label_values(encoder: ColumnEncoder, rows: pa.Table) -> list[bytes]:
    """Return the encoded labels of rows of ``labels_of``."""
    columns: dict[str, Any] = {n: rows[n].combine_chunks() for n in rows.column_names}
    fraud = columns["is_fraud"].to_numpy(zero_copy_only=False)
    columns["state"] = Choice(fraud.astype(np.int64), ["GENUINE", "FRAUD"])
    return encoder.encode(columns, len(rows)).to_list()


class Stage:
    """A broker with all topics; a process of each kind is started by :meth:`start`.

    Args:
        directory: For keys, store, state and logs.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            kafka = stack.enter_context(DevKafka(1, self.directory / "kafka", quick=True))
            names = ("operator", "controller", "trainer")
            for name in names:
                generate(self.directory / f"{name}.key")
            self.keys = {name: read_private(self.directory / f"{name}.key") for name in names}
            self.store = self.directory / "models"
            self.rules = self.directory / "retrain.toml"
            self._table: dict[str, Any] = {
                "kafka": {"bootstrap": kafka.bootstrap},
                "http": {"port": 0},
                "models": {"directory": str(self.store)},
                "rollout": {"require_signature": True},
                "controller": {
                    "key": str(self.directory / "controller.key"), "label_slack_seconds": 0,
                    "state": str(self.directory / "controller.sqlite"),
                },
                "retrain": {
                    "key": str(self.directory / "trainer.key"),
                    "directory": str(self.directory / "retrain"),
                },
                "performance": {
                    "state": str(self.directory / "performance.sqlite"),
                    "label_slack_seconds": 0, "trust_declared_draws": "true",
                    "retrain_rules": str(self.rules),
                },
            }  # fmt: skip
            os.environ["STREAM_SCORER_ROLLOUT__OPERATOR_KEYS"] = (
                '{"ann": "' + self.public("operator") + '"}'
            )
            stack.callback(os.environ.pop, "STREAM_SCORER_ROLLOUT__OPERATOR_KEYS", None)
            self.settings: Settings = load_settings(self._table)
            create_topics(self.settings.kafka, PARTITIONS, 1)
            self._feed = stack.enter_context(open_feed(self.settings.kafka, self.settings.registry))
            text = reader_schema("label.v2")
            number = open_registry(self.settings.registry).id_for("labels-value", text)
            self._labels = ColumnEncoder(number, text)
            self._producer = Producer(common(self.settings.kafka))
            self._clock: list[tuple[float, int]] = []
            self._due = pa.table({})
            self.processes: dict[str, subprocess.Popen[bytes]] = {}
            stack.callback(self._end)
            self.log = ControlLog(self.settings)
            stack.callback(self.log.close)
            self.sent = 0
            self.restarts: dict[str, int] = {}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def public(self, name: str) -> str:
        """Return a public key in base64."""
        return b64encode(self.keys[name].public_key().public_bytes_raw()).decode()

    # -- processes ----------------------------------------------------------------------------

    def start(self, name: str, *arguments: str, **more: Mapping[str, Any]) -> None:
        """Start a process; the arguments are those of ``stream-scorer``."""
        tables = {key: {**self._table.get(key, {}), **dict(value)} for key, value in more.items()}
        environment = {
            **os.environ, **as_environment({**self._table, **tables}), "NUMBA_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 our own program
                [sys.executable, "-c", _MAIN, *arguments], env=environment, stdout=log, stderr=log
            )
        self._arguments = getattr(self, "_arguments", {}) | {name: (arguments, more)}

    def kill(self, name: str) -> None:
        """End a process by SIGKILL, and start it again."""
        say(f"kill -9 {name}")
        process = self.processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.restarts[name] = self.restarts.get(name, 0) + 1
        arguments, more = self._arguments[name]
        self.start(name, *arguments, **more)

    def alive(self) -> None:
        """Refuse to continue if a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = (self.directory / f"{name}.log").read_text()[-3_000:]
                raise SystemExit(f"{name} ended with {process.returncode}:\n{tail}")

    def until(self, done: Callable[[], bool], what: str, seconds: float = _WAIT_SECONDS) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not done():
            self.alive()
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.1)

    def _end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    # -- records ------------------------------------------------------------------------------

    def give(self, kind: CommandKind, body: StrictModel) -> int:
        """Write an operator's command; return its number."""
        entry = self.log.append(kind, body, self.keys["operator"])
        if entry.command is None:
            raise SystemExit(entry.refused)
        return entry.command.sequence

    def send(self, city: City, number: int) -> CityDay:
        """Send a day's transactions, and the labels that become known meanwhile."""
        day = city.day(number)
        labels = labels_of(day)
        self._due = pa.concat_tables([self._due, labels]) if len(self._due) else labels
        for chunk in range(_CHUNKS):
            first, end = (len(day.time) * (chunk + each) // _CHUNKS for each in (0, 1))
            self._clock.append((time.time() * 1_000, int(day.time[end - 1])))
            self._send_labels(int(day.time[first]))
            self._feed.send(day.table.slice(first, end - first).drop_columns(["is_fraud"]))
            self._feed.flush()
        self.sent += len(day.time)
        return day

    def _send_labels(self, now_ms: int) -> None:
        known = self._due["label_time"].cast(pa.int64()).to_numpy() <= now_ms
        rows = self._due.filter(pa.array(known)).combine_chunks()
        self._due = self._due.filter(pa.array(~known))
        if not len(rows):
            return
        values = label_values(self._labels, rows)
        for key, value in zip(rows["customer_id"].to_pylist(), values, strict=True):
            self._producer.produce(self.settings.kafka.topics.labels, value, key)
        self._producer.flush()

    def event_time(self, kafka_time: float) -> int:
        """Return up to which event time records had been sent at a Kafka time, ms."""
        begun = [newest for began, newest in self._clock if began <= kafka_time]
        return begun[-1]

    def decided(self) -> int:
        """Return how many transactions the scorer has committed."""
        kafka = self.settings.kafka
        found = committed_offsets(kafka, kafka.topics.transactions, list(range(PARTITIONS)))
        return sum(found.values())
