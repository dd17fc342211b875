"""Aborts and restarts change nothing that the monitor publishes; commands are folded once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.drift.monitor.process import monitor_loop
from stream_scorer.drift.operator.commands import give
from stream_scorer.drift.sinks.delivery import Delivery
from stream_scorer.drift.sinks.message import SinkMessage
from stream_scorer.drift.sinks.process import sink_loop
from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.drift.state.topic import newest
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import TransactionAborted
from stream_scorer.settings import Kafka, Models, Monitor, Scorer, Settings
from stream_scorer.telemetry import BatchAborted, BatchCommitted, DriftSnapshot, Event
from tests.support.drift.published import (
    HISTORY,
    decoded,
    expected,
    publish,
    published,
    store_and_stream,
)
from tests.support.faults.process import environment

pytestmark = pytest.mark.kafka


class Run:
    """A monitor that can abort every second transaction."""

    def __init__(self, settings: Settings, *, aborts: bool) -> None:
        self.told: list[Event] = []
        self._sent = 0
        self._aborts = aborts
        self.loop = monitor_loop(settings, Deployment(start="earliest"), self.told.append, self.at)

    def at(self, stage: str) -> None:
        if stage == "send" and self._aborts:
            self._sent += 1
            if self._sent % 2:
                raise TransactionAborted("injected", network=True)

    def until(self, summaries: int) -> None:
        committed = 0
        while committed < summaries:
            self.loop.step()
            committed = sum(h.records for h in self.told if isinstance(h, BatchCommitted))
        self.loop.stop()
        self.loop.run()


def settings_of(kafka: Kafka, store: Path) -> Settings:
    return Settings(
        kafka=kafka,
        monitor=Monitor(
            group=f"{kafka.group}-monitor", history_from=HISTORY, sink_group=f"{kafka.group}-sink"
        ),
        models=Models(directory=store),
        scorer=Scorer(maximum_batch=12),
    )


def test_aborts_and_restarts_change_no_bit(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[[Kafka], Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    read, stream = store_and_stream(tmp_path)
    settings = settings_of(kafka, tmp_path).of_process("monitor")
    count = len(partitions(admin(kafka), kafka, [kafka.topics.transactions])[
        kafka.topics.transactions
    ])  # fmt: skip
    calm = expected(read, stream, count)
    assert len(calm) >= 4

    cut = len(stream) // 2 + 4
    publish(kafka, stream, 0, cut)
    first = Run(settings, aborts=True)
    first.until(cut)
    publish(kafka, stream, cut)
    second = Run(settings, aborts=True)
    second.until(len(stream) - cut)

    assert sum(isinstance(h, BatchAborted) for h in first.told + second.told) > 4
    assert sum(isinstance(h, DriftSnapshot) for h in first.told) > 4
    assert published(kafka) == calm
    snapshot = newest(kafka, kafka.topics.drift_state)
    assert snapshot is not None
    said = MonitorDocument.read(snapshot.data)
    assert (said.meta.gaps, said.meta.overlaps) == (0, 0)


def test_a_command_and_a_sink_find_the_event(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[[Kafka], Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    _, stream = store_and_stream(tmp_path)
    settings = settings_of(kafka, tmp_path)
    own = settings.of_process("monitor")
    publish(kafka, stream, 0, 150)
    Run(own, aborts=False).until(150)
    opened = next(each for each in decoded(published(kafka)) if each["severity"] == "page")
    told = give(settings, "ack", opened["event_id"], None, "seen", None)
    assert told["offset"] == 0
    publish(kafka, stream, 150, 153)
    Run(own, aborts=True).until(3)
    acked = [each for each in decoded(published(kafka)) if each["change"] == "acknowledged"]
    assert [each["episode"] for each in acked] == [opened["event_id"]]

    class Sink:
        name = "memory"

        def __init__(self) -> None:
            self.got: list[str] = []

        def send(self, message: SinkMessage, heartbeat: Callable[[], None]) -> Delivery:
            heartbeat()
            self.got.append(message.key)
            return Delivery("sent", "")

    names = [each["event_id"] for each in decoded(published(kafka))]
    at_sink = settings.model_copy(
        update={"kafka": kafka.model_copy(update={"group": settings.monitor.sink_group})}
    )
    first, second = Sink(), Sink()
    for sink, wanted in ((first, 2), (second, len(names) - 2)):
        loop = sink_loop(at_sink, sink, lambda _: None)
        while len(sink.got) < wanted:
            loop.step()
        loop.stop()
        loop.run()
    # The second begins at the first one's committed offset.
    assert first.got + second.got == names


def test_the_commands_show_what_a_monitor_wrote(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[[Kafka], Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    _, stream = store_and_stream(tmp_path)
    publish(kafka, stream)
    Run(settings_of(kafka, tmp_path).of_process("monitor"), aborts=False).until(len(stream))

    def shown(*words: str) -> str:
        done = CliRunner().invoke(
            app, ["drift", *words], env=environment(kafka) | {"COLUMNS": "80"}
        )
        assert done.exception is None, done.stdout
        return done.stdout

    state = json.loads(shown("status", "--json"))
    (version,) = state["versions"]
    streams = len(state["streams"])
    assert sum(version["streams"].values()) == streams > 0
    assert version["streams"]["alarmed"] > 0
    assert state["tiles"] == {"gaps": 0, "overlaps": 0, "dropped": 0}
    assert max(map(len, shown("status").splitlines())) <= 80
    found = decoded(published(kafka))
    opened = {each["event_id"]: each for each in found if each["change"] == "opened"}
    assert {each["event_id"] for each in state["open"]} <= opened.keys()
    for each in state["open"]:
        told = json.loads(shown("explain", each["event_id"], "--json"))
        assert told["stream"] == opened[each["event_id"]]["signal"]
        assert len(told["history"]) > 100
        assert told["onset"]["low"] <= told["onset"]["at"] <= told["onset"]["high"]
    page = tmp_path / "report.html"
    report = json.loads(shown("report", "--html", str(page), "--json", "--days", "3650"))
    newest_first = [each["event_id"] for each in reversed(found)]
    assert [each["event_id"] for each in report["events"]] == newest_first
    assert state["open"]
    assert all(each["event_id"] in page.read_text() for each in state["open"])
    assert all(each["event_id"][:8] in page.read_text() for each in found)
