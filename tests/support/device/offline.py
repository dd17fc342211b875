"""Devices that decide without a network, are killed, and bring their rows back: is each there once?

Everything is counted from the topics alone. The scorers' history differs from the devices': before
the devices' rows, the stream has other transactions of the same customers.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch, Outcome
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.device.decide import RecordDecider
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.device.state import LOG
from stream_scorer.edge.operator.report import edge_report
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka
from tests.support.device.device_child import DRAINED, KILLED, ChildOrder, ended, fork_server
from tests.support.device.device_world import NOW, DeviceWorld, Record, make_release, record
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator
from tests.support.edge.published import Delivery, rows_in
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import Record as InputRecord
from tests.support.faults.reference_run import feed
from tests.support.served.served_api import FAST, ServedApi
from tests.support.serving.access import make_key

CUSTOMERS: Final = 50
EARLIER: Final = 5
"""Transactions of each customer that only the stream has."""
MODEL: Final = "fraud:1.0.1"
_FILES: Final = FileRegistry(SCHEMAS_DIRECTORY)
_STEPS: Final = ("before append", "appended", "synced")


@dataclass
class OfflineRun:
    """Devices, and what became of their rows.

    Attributes:
        operator: Registers them.
        folder: For their files.
        devices: How many.
        each: Transactions of each one.
    """

    operator: Operator
    folder: Path
    devices: int
    each: int

    def __post_init__(self) -> None:
        self.context = fork_server()
        self.release = make_release(self.folder / "release", MODEL.partition(":")[2])
        self.made = [MadeDevice(f"till-{number}") for number in range(self.devices)]
        self.killed = 0
        self.disk_full = False
        self._kept: dict[str, list[bytes]] = {}

    @property
    def kafka(self) -> Kafka:
        """The cluster."""
        return self.operator.kafka

    def order(self, device: MadeDevice, first: int = 0, **more: Any) -> ChildOrder:
        """Return what a device's process does."""
        key = device.key.private_bytes_raw()
        made = ChildOrder(
            self.folder / device.name, self.release, key, first, self.each, tail=self.each // 3,
            customers=CUSTOMERS, device=device.name,
        )  # fmt: skip
        return replace(made, **more)

    def world(self, device: MadeDevice) -> DeviceWorld:
        """Return a device, whose process has ended."""
        return self.order(device).world()

    def sequence(self, device: MadeDevice) -> int:
        """Return the number of a device's last row."""
        state = self.world(device).state()
        state.close()
        return state.history.sequence

    # -- offline ------------------------------------------------------------------------------

    def decide(self) -> None:
        """Decide on all devices; five processes are killed, and a disk is full once."""
        for number, device in enumerate(self.made):
            kills = 2 if number == 0 else 1
            for kill in range(kills):
                step = _STEPS[(number + kill) % len(_STEPS)]
                order = self.order(device, self._reached(device), step=step, times=self.each // 4)
                self.killed += ended(self.context, order) == KILLED
            if number == 0:
                size = (self.folder / device.name / LOG).stat().st_size
                order = self.order(device, self._reached(device), file_most=size + 30_000)
                code = ended(self.context, order)
                self.disk_full = code == 0 and self.sequence(device) < self.each
            assert ended(self.context, self.order(device, self.sequence(device))) == 0
            assert self.sequence(device) == self.each

    def _reached(self, device: MadeDevice) -> int:
        return self.sequence(device) if (self.folder / device.name / LOG).exists() else 0

    # -- back ---------------------------------------------------------------------------------

    def upload(self) -> float:
        """Upload all rows through a server; return rows a second, all devices together.

        Each device is killed once between the answer and the deletion.
        """
        api = _EdgeServer(self.operator, self.folder, [each.name for each in self.made])
        with api:
            api.wait_served()
            url = f"http://{api.address()}"

            def orders(**more: Any) -> list[ChildOrder]:
                return [
                    self.order(each, url=url, api_key=api.keys[each.name], **more)
                    for each in self.made
                ]

            with ThreadPoolExecutor(self.devices) as pool:
                for code in pool.map(self._ended, orders(step="answered")):
                    self.killed += code == KILLED
                assert set(pool.map(self._ended, orders())) == {0}
        told = [(self.folder / each.name / DRAINED).read_text().split() for each in self.made]
        rows = sum(int(count) for count, _, _ in told)
        seconds = max(float(end) for *_, end in told) - min(float(begin) for _, begin, _ in told)
        return rows / seconds

    def _ended(self, order: ChildOrder) -> int | None:
        return ended(self.context, order)

    def earlier(self) -> list[Record]:
        """Return the transactions that only the stream has, in the order in which it gets them."""
        return [
            record(
                number, CUSTOMERS, f"{device.name}-", transaction_id=f"{device.name}-e{number}",
                amount_minor=200_000, event_time=_before(number),
            )
            for device in self.made
            for number in range(EARLIER * CUSTOMERS)
        ]  # fmt: skip

    def feed(self) -> None:
        """Produce the transactions that only the stream has."""
        feed(
            self.kafka,
            tuple(
                InputRecord(each.key(_customer(number, device.name)), each.value)
                for device, rows in self._by_device()
                for number, each in enumerate(rows)
            ),
        )

    def _by_device(self) -> Sequence[tuple[MadeDevice, list[Record]]]:
        rows, size = self.earlier(), EARLIER * CUSTOMERS
        return [(device, rows[at * size : (at + 1) * size]) for at, device in enumerate(self.made)]

    def score(self) -> None:
        """Run a scorer until everything is decided."""
        kafka, topics = self.kafka, self.kafka.topics
        count = self.devices * (self.each + EARLIER * CUSTOMERS)
        variables = self.operator.variables(scorer={"edge": "accept"})
        with ScorerProcess(
            kafka, self.folder / "scorer.log", "--model", MODEL, "--from", "earliest",
            variables=variables,
        ) as scorer:  # fmt: skip
            wait_until(
                lambda: _count(kafka, topics.decisions, topics.dead_letters) >= count,
                lambda: scorer.said,
                120.0,
            )
            scorer.stop(30)

    # -- what became of them ------------------------------------------------------------------

    def found(self) -> dict[str, Any]:
        """Return what the topics have."""
        topics = self.kafka.topics
        rows = rows_in(self.kafka, topics.transactions)
        decided = rows_in(self.kafka, topics.decisions)
        lost = duplicates = 0
        for device in self.made:
            for found in (rows, decided):
                delivery = Delivery.of(found, device.name, self.each)
                lost, duplicates = lost + delivery.lost, duplicates + delivery.duplicates
        report = edge_report(self.operator.settings, 0, 2**53)
        return {
            "decided": self.devices * self.each, "killed": self.killed,
            "disk_full": self.disk_full, "lost": lost, "duplicates": duplicates,
            "as_on_device": self._as_on_device(), "report": report,
            "replayed": dict(self.replayed()),
        }  # fmt: skip

    def _outcomes(self, device: MadeDevice) -> list[Outcome]:
        return [decode_decision(value).outcome for value in self._kept[device.name]]

    def keep(self) -> None:
        """Note what the devices decided, before their outboxes are empty."""
        for device in self.made:
            state = self.world(device).state()
            rows = state.outbox.first(self.each)
            self._kept[device.name] = [each.row.decision for each in rows]
            state.close()

    def _as_on_device(self) -> int:
        """Return how many published decisions have the device's outcome."""
        codec = RecordCodec(19, reader_schema("decision.v3"))
        wanted = {device.name: self._outcomes(device) for device in self.made}
        same = 0
        for message in read_all(self.kafka, self.kafka.topics.decisions):
            told = dict(message.headers() or ())
            if EDGE_DEVICE not in told:
                continue
            decision = codec.decode(message.value(), _FILES)
            own = wanted[told[EDGE_DEVICE].decode()][int(told[EDGE_SEQUENCE]) - 1]
            same += decision["decision"] == own.name and "edge" in decision["flags"]
        return same

    def replayed(self) -> Counter[str]:
        """Return where the stream would have differed, by one batch of the core."""
        found: Counter[str] = Counter()
        for device, earlier in self._by_device():
            world = self.world(device)
            release = world.release
            reader = RecordDecider(release, DeviceHistory(release.model.features))
            own = [record(n, CUSTOMERS, f"{device.name}-") for n in range(self.each)]
            read = [reader.read(each.value, world.wall()).events for each in (*earlier, *own)]
            joined = pa.Table.from_batches([each.records for each in read]).combine_chunks()
            count = len(read)
            events = EventBatch(
                joined.to_batches()[0], np.zeros(count, np.int32), np.arange(count),
                np.full(count, world.wall()),
            )  # fmt: skip
            rings = PartitionRings(release.model.features)
            made = decide_alone(events, rings, release.model, release.plan).decided[0].decisions
            central = made.outcome[len(earlier) :].tolist()
            for mine, theirs in zip(self._outcomes(device), central, strict=True):
                if mine != theirs:
                    found[f"{mine.name}→{Outcome(theirs).name}"] += 1
        return found


class _EdgeServer(ServedApi):
    """The API with ``/v1/edge`` alone."""

    def __init__(self, operator: Operator, folder: Path, devices: Sequence[str]) -> None:
        place = folder / "api"
        place.mkdir()
        keys = {name: make_key(place, name, scopes=["edge"], **FAST) for name in devices}
        super().__init__(
            operator.kafka, place, serving={"edge": {"enabled": True}},
            variables=operator.variables(),
        )  # fmt: skip
        self.keys |= keys


def offline_run(kafka: Kafka, folder: Path, devices: int, each: int) -> dict[str, Any]:
    """Decide offline, bring the rows back, and return what the topics have."""
    operator = Operator(kafka, Ed25519PrivateKey.generate(), MODEL.replace(":", "/"))
    run = OfflineRun(operator, folder, devices, each)
    operator.register(*run.made)
    run.decide()
    run.keep()
    run.feed()
    drained = run.upload()
    run.score()
    return run.found() | {"drained_per_second": round(drained)}


def failures(found: dict[str, Any]) -> list[str]:
    """Return what an offline run breaks of its promises."""
    report, decided = found["report"], found["decided"]
    differed = {kind: told["events"] for kind, told in report["differed"].items()}
    checks = (
        ("rows are lost", found["lost"] == 0),
        ("rows are there twice", found["duplicates"] == 0),
        ("a decision is not the device's", found["as_on_device"] == decided),
        ("the disk was never full", found["disk_full"]),
        ("the report has another number of events", report["events"] == decided),
        ("the report differs from a replay", differed == found["replayed"]),
        ("the devices differ nowhere, so the report shows nothing", found["replayed"] != {}),
    )
    return [why for why, kept in checks if not kept]


def _before(number: int) -> int:
    """Return the time of an earlier transaction: a day before those of the devices."""
    return NOW + number * 60_000 - 86_400_000


def _customer(number: int, device: str) -> str:
    return f"{device}-customer-{number % CUSTOMERS}"


def _count(kafka: Kafka, *topics: str) -> int:
    return sum(sum(1 for _ in read_all(kafka, topic)) for topic in topics)
