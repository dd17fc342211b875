"""The current code continues with restored topics, groups and files of the previous version."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka.admin import AdminClient

from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.producing.transactions import open_feed
from stream_scorer.reproduce.run import Question, reproduce
from stream_scorer.settings import Kafka, Registry, Settings, Topics, load_settings
from stream_scorer.simulator import simulate
from tests.conftest import Broker
from tests.recorded.recording import GROUP, TOPICS, recorded, restore
from tests.recorded.session import CUSTOMERS, DAYS, PARTITIONS, read
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.recorded.here import Here, gone
from tests.support.state.stage import restored_only

pytestmark = pytest.mark.kafka
MORE = 100
"""Transactions after the recorded ones."""


@pytest.fixture
def settings(kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Return settings of the recorded group; its topics are deleted afterwards for other tests."""
    there = Kafka(bootstrap=kafka.bootstrap, group=GROUP, topics=Topics(**TOPICS))
    try:
        restore(recorded(), there, tmp_path)
        monkeypatch.chdir(tmp_path)
        yield load_settings({"kafka": {"bootstrap": kafka.bootstrap}}, tmp_path / "config.toml")
    finally:
        admin = AdminClient(client_options.common(there))
        there_were = [TOPICS[name] for name in recorded().ends]
        for deleted in admin.delete_topics(there_were).values():
            deleted.result()


@pytest.mark.thorough
def test_every_command_reads_it(settings: Settings, tmp_path: Path) -> None:
    tree = Here(tmp_path)
    tree.variables |= {
        "STREAM_SCORER_CONFIG": "config.toml",
        "STREAM_SCORER_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
    }
    read(tree)
    told = recorded().documents
    for name in ("rollout status", "rollout history", "dlq list"):
        assert known(tree.documents[name], told[name]) == told[name]
    decisions = len(recorded().records["decisions"])
    assert tree.documents["reproduce"]["equal"] == decisions > 2_000
    verified = tree.documents["state verify"]["partitions"]
    assert [row["buckets"] for row in verified] == [1_024] * PARTITIONS
    assert all(row["events"] > 0 for row in verified)
    # In the recording, one partition still showed the blue-green plan, before the last portion.
    assert gone(tree) == {"rollout status": ["partitions[].versions.blue"]}


def known(now: Any, told: Any) -> Any:
    """Return a current document, reduced to the keys of the recorded one."""
    if isinstance(now, dict):
        return {name: known(now[name], told[name]) for name in told}
    if isinstance(now, list):
        return [known(each, old) for each, old in zip(now, told, strict=True)]
    return now


@pytest.mark.thorough
def test_a_scorer_restores_the_checkpoint_to_a_replays_state(settings: Settings) -> None:
    deployment = Deployment(follow=True, warm="fraud:1.1.0")
    found = restored_only(settings, PARTITIONS, deployment)
    assert {each.buckets for each in found.restored.values()} == {1_024}
    # The scorer was stopped gracefully, so there is nothing to replay after its checkpoint.
    ends = dict(enumerate(recorded().ends["transactions"]))
    assert {p: each.first_offset for p, each in found.restored.items()} == ends
    assert {p: each.end_offset for p, each in found.restored.items()} == ends
    empty = {"state": f"{TOPICS['state']}-empty"}
    topics = settings.kafka.topics.model_copy(update=empty)
    kafka = settings.kafka.model_copy(update={"topics": topics})
    create_topics(kafka, PARTITIONS, replication=1)
    replayed = restored_only(settings.model_copy(update={"kafka": kafka}), PARTITIONS, deployment)
    assert {each.first_offset for each in replayed.restored.values()} == {0}
    assert {p: each.end_offset for p, each in replayed.restored.items()} == ends
    assert found.at_restore == replayed.at_restore
    assert all(found.at_restore.values())


def test_a_scorer_continues_and_decides_as_a_replay_would(
    settings: Settings, tmp_path: Path
) -> None:
    kafka = settings.kafka
    feed(kafka)
    _, ends = bounds(kafka, kafka.topics.transactions)
    assert sum(ends.values()) == sum(recorded().ends["transactions"]) + MORE
    variables = {"STREAM_SCORER_CONFIG": str(tmp_path / "config.toml")}
    warm = ("--warm", "fraud:1.1.0")
    with ScorerProcess(kafka, tmp_path / "log", *warm, variables=variables, follow=True) as scorer:
        wait_until(
            lambda: committed_offsets(kafka, kafka.topics.transactions, list(ends)) == ends,
            lambda: f"all are decided: {scorer.said}",
        )
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0
    question = Question("input", first_ms=0, warm="fraud:1.1.0")
    found = reproduce(settings, question, lambda *_: None)
    assert found.chosen == len(recorded().records["decisions"]) + MORE
    assert found.equal == found.chosen
    assert set(found.models) == {"fraud:1.0.0", "fraud:1.1.0"}


def feed(kafka: Kafka) -> None:
    """Send the last transactions again, an hour later and with new ids."""
    rows = simulate(DAYS, CUSTOMERS)[-MORE:]
    hour = pa.scalar(timedelta(hours=1), pa.duration("ms"))
    names = pa.array([f"more-{number}" for number in range(MORE)])
    times = pc.add(rows["event_time"], hour).cast(pa.timestamp("ms"))
    for name, values in (("transaction_id", names), ("event_time", times)):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), values)
    with open_feed(kafka, Registry()) as source:
        source.send(rows)
