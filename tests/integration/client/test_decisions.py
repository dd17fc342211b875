"""The client with a broker: the documented lines, both schema versions, open transactions."""

import contextlib
import io
import json
import re
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from stream_scorer.client import Decision, DecisionTopic, UnreadableRecord
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.kafka.topics import client_options
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import MODELS_DIRECTORY, Kafka
from tests.support.faults.reference_run import feed, outcome, scored, transactions

pytestmark = pytest.mark.kafka

PAGE = (Path(__file__).parents[3] / "docs" / "DECISIONS.md").read_text()
SCHEMAS = {
    schema_id: fastavro.parse_schema(json.loads(reader_schema(f"decision.v{version}")))
    for schema_id, version in ((2, 1), (11, 2))
}
LONG_MS = 30_000
RECORD: dict[str, Any] = {
    "customer_id": "c", "terminal_id": "", "event_time": 1_522_540_800_000,
    "decided_at": 1_700_000_000_000, "score": 0.75, "decision": "REVIEW", "reasons": ["TX_AMOUNT"],
    "flags": ["late"], "model": "fraud", "model_version": "1.0.0", "engine": 1,
    "features": struct.pack("<2d", 12.5, 1.0), "source_topic": "t", "source_partition": 0,
    "amount_minor": 1_250, "currency": "EUR", "channel": "ECOM", "model_outcome": "BLOCK",
    "policy_revision": 3,
    "explanations": [{"feature": "TX_AMOUNT", "value": 12.5, "contribution": 0.5, "text": "!"}],
}  # fmt: skip


def encoded(number: int, schema_id: int = 11, **changed: Any) -> bytes:
    body = io.BytesIO()
    record = RECORD | {"transaction_id": f"t{number}", "source_offset": number} | changed
    fastavro.schemaless_writer(body, SCHEMAS[schema_id], record)
    return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


@pytest.fixture
def topic(settings: Kafka) -> DecisionTopic:
    return DecisionTopic(bootstrap=settings.bootstrap, topic=settings.topics.decisions)


@contextlib.contextmanager
def transaction(settings: Kafka, name: str) -> Iterator[Callable[..., None]]:
    """Produce in one transaction, which the caller ends or leaves open."""
    producer = Producer(client_options.producer(settings, name))
    producer.init_transactions(60)
    producer.begin_transaction()

    def send(*values: bytes, partition: int = 0, end: str = "") -> None:
        for value in values:
            producer.produce(settings.topics.decisions, value, b"k", partition=partition)
        assert producer.flush(60) == 0
        if end == "commit":
            producer.commit_transaction(60)
        elif end == "abort":
            producer.abort_transaction(60)

    yield send


def committed(settings: Kafka, *values: bytes, partition: int = 0) -> None:
    with transaction(settings, "writer") as send:
        send(*values, partition=partition, end="commit")


def ids(decisions: Iterable[Decision]) -> list[str]:
    return [decision.transaction_id for decision in decisions]


def test_the_documented_lines_print_named_features(
    settings: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(settings, feed(settings, transactions()[:300]))
    decided = outcome(settings).decisions
    (tmp_path / "client.toml").write_text(
        f'[kafka]\nbootstrap = "{settings.bootstrap}"\n'
        f'[kafka.topics]\ndecisions = "{settings.topics.decisions}"\n'
    )
    (tmp_path / "models").symlink_to(MODELS_DIRECTORY)
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert max(len(block.strip().splitlines()) for block in (first, second)) <= 5
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(first, "docs/DECISIONS.md", "exec"), {})  # noqa: S102 our own page
    lines = printed.getvalue().splitlines()
    assert len(lines) == len(decided) > 250
    names = [
        spec["name"]
        for spec in read_manifest(find(FolderStore(MODELS_DIRECTORY), "fraud:1.0.0")).features
    ]
    expected = sorted(
        f"{each['transaction_id']} {each['decision']} {each['score']} "
        f"{dict(zip(names, each['features'], strict=True))}"
        for each in decided.values()
    )
    assert sorted(lines) == expected
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(second, "docs/DECISIONS.md", "exec"), found)  # noqa: S102 our own page
    table = found["table"]
    assert [name for name in table.column_names if name.startswith("features.")] == [
        f"features.{name}" for name in names
    ]
    amounts = dict(
        zip(
            table["transaction_id"].to_pylist(), table["features.TX_AMOUNT"].to_pylist(),
            strict=True,
        )
    )  # fmt: skip
    assert amounts == {each["transaction_id"]: each["features"][0] for each in decided.values()}


def test_both_versions_are_read_from_one_topic(settings: Kafka, topic: DecisionTopic) -> None:
    committed(settings, encoded(0, 2), encoded(1, 11), encoded(2, 2))
    old, new, _ = topic.records()
    assert (old.amount_minor, old.currency, old.channel) == (None, None, None)
    assert (old.model_outcome, old.policy_revision, old.explanations) == (None, None, None)
    assert (new.amount_minor, new.currency, new.channel) == (1_250, "EUR", "ECOM")
    assert (new.model_outcome, new.policy_revision) == ("BLOCK", 3)
    assert new.explanations is not None
    (told,) = new.explanations
    assert (told.feature, told.value, told.contribution, told.text) == ("TX_AMOUNT", 12.5, 0.5, "!")
    for each in (old, new):
        assert (each.outcome, each.reasons, each.flags) == ("REVIEW", ("TX_AMOUNT",), ("late",))
        assert dict(each.features) == {"feature_0": 12.5, "feature_1": 1.0}
        assert each.event_time.isoformat() == "2018-04-01T00:00:00+00:00"
    table = topic.table()
    assert table["amount_minor"].to_pylist() == [None, 1_250, None]
    assert table["features.feature_0"].to_pylist() == [12.5] * 3
    assert table["offset"].to_pylist() == [0, 1, 2]


def test_a_read_without_follow_ends_and_takes_what_is_committed(
    settings: Kafka, topic: DecisionTopic
) -> None:
    assert list(topic.records()) == []
    assert topic.table().num_rows == 0
    committed(settings, encoded(0), partition=1)
    with transaction(settings, "aborted") as send:
        send(encoded(1), partition=1, end="abort")
    committed(settings, encoded(2), partition=1)
    assert ids(topic.records()) == ["t0", "t2"]
    # The read waits for transactions that are open when it begins.
    with transaction(settings, "open") as send:
        send(encoded(3), partition=1)
        found: list[Decision] = []
        reading = threading.Thread(target=lambda: found.extend(topic.records()))
        reading.start()
        send(end="commit")
        reading.join(60)
    assert ids(found) == ["t0", "t2", "t3"]
    last = found[-1]
    assert ids(topic.records(start={1: last.offset})) == ["t3"]
    assert ids(topic.records(start={1: last.offset + 1})) == []
    assert ids(topic.records(start={0: 0})) == []


def test_following_continues_with_what_comes(settings: Kafka, topic: DecisionTopic) -> None:
    committed(settings, encoded(0))
    reading = topic.records(follow=True)
    assert next(reading).transaction_id == "t0"
    committed(settings, encoded(1))
    assert next(reading).transaction_id == "t1"
    reading.close()
    from_now = topic.batches(start=topic.ends(), follow=True, rows=1)
    committed(settings, encoded(2), encoded(3))
    assert [next(from_now)["transaction_id"].to_pylist() for _ in "23"] == [["t2"], ["t3"]]
    from_now.close()
    stopped = threading.Event()
    stopped.set()
    assert list(topic.records(start="latest", follow=True, stop=stopped.is_set)) == []


def test_what_is_not_a_decision_is_named_or_left_out(settings: Kafka, topic: DecisionTopic) -> None:
    strange = encoded(1, event_time=2**62)
    committed(settings, encoded(0), b"\0garbage", strange, encoded(2))
    named = rf"topic {settings.topics.decisions} partition 0 offset 1: not a decision"
    with pytest.raises(SchemaError, match=named):
        list(topic.records())
    found: list[UnreadableRecord] = []
    tolerant = DecisionTopic(
        bootstrap=settings.bootstrap,
        topic=settings.topics.decisions,
        on_unreadable=found.append,
    )
    assert ids(tolerant.records()) == ["t0", "t2"]
    assert [(each.offset, each.reason) for each in found[1:]] == [
        (2, "a time that no calendar has")
    ]
    assert found[0].offset == 1


def test_wrong_places_are_refused(settings: Kafka, topic: DecisionTopic) -> None:
    with pytest.raises(SettingsError, match="has no partition 77"):
        list(topic.records(start={77: 0}))
    with pytest.raises(SettingsError, match="partition 0: offset 5 is not there"):
        list(topic.records(start={0: 5}, follow=True))
    with pytest.raises(SettingsError, match="topic nowhere: does not exist"):
        list(DecisionTopic(bootstrap=settings.bootstrap, topic="nowhere").records())
