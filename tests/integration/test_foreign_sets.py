"""Three foreign data sets, from their files to reproduced decisions.

Each set is explained, mapped, trained on, decided in the stream and in a file, and reproduced. One
of them is keyed by a primary key, so it is first copied to a topic that is keyed by the customer.
"""

import io
import json
import shutil
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from bench.harness.foreign import ForeignSet, Row, add_schemas
from stream_scorer.cli.main import app
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment, load_plan
from stream_scorer.registry.sources import INDEX, reader_schema
from stream_scorer.rekeying.process import rekey_loop
from stream_scorer.reproduce.run import Depth, Question, reproduce
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Models, Registry, Rekey, Settings
from stream_scorer.simulator import simulate
from stream_scorer.training.run import train
from tests.support.faults.process import environment
from tests.support.faults.reference_run import PARTITIONS, Heard, decision, scored
from tests.support.tables.foreign_sets import set_of, write_features, write_set
from tests.support.training.train_cases import order

pytestmark = pytest.mark.kafka

BEGIN_MS = time.time_ns() // 1_000_000 - 7_200_000
"""In the past, but within the topics' retention."""
DEPTHS: tuple[Depth, ...] = ("recorded", "input")
KEY_ID = 211
KEY = {"type": "record", "name": "Key", "fields": [{"name": "row", "type": "long"}]}
_ASIDE = {"decided_at", "source_topic", "source_partition", "source_offset", "key"}


@dataclass(frozen=True, slots=True)
class World:
    """One set, with its files and its topic.

    Attributes:
        each: The set.
        rows: The labelled transactions.
        folder: The folder of its files.
        plan: The folder of its plan.
        file: Its labelled file.
        kafka: Settings; the topic of transactions has the set's records.
        ends: The next offset of each partition.
        registry: Settings of a registry with its schemas.
        store: The store of its model.
    """

    each: ForeignSet
    rows: list[Row]
    folder: Path
    plan: Path
    file: Path
    kafka: Kafka
    ends: dict[int, int]
    registry: Registry
    store: Path

    @property
    def model(self) -> str:
        return f"{self.each.name}:1.0.0"

    @property
    def settings(self) -> Settings:
        return Settings(
            kafka=self.kafka, registry=self.registry, models=Models(directory=self.store)
        )

    def run(self, *arguments: str | Path) -> Any:
        """Run a command; return its report."""
        told = environment(self.kafka) | {
            "STREAM_SCORER_REGISTRY__DIRECTORY": str(self.registry.directory),
            "STREAM_SCORER_MODELS__DIRECTORY": str(self.store),
        }
        found = CliRunner().invoke(app, [*map(str, arguments), "--json"], env=told)
        assert found.exit_code == 0, (found.output, found.exception)
        return json.loads(found.stdout)


def primary_key(row: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(KEY), {"row": row})
    return b"\0" + KEY_ID.to_bytes(4, "big") + out.getvalue()


def schemas_in(folder: Path) -> Registry:
    """Return a registry that also has the schemas of the foreign sets and of their keys."""
    directory = folder / "schemas"
    shutil.copytree(SCHEMAS_DIRECTORY, directory)
    add_schemas(directory)
    index = json.loads((directory / INDEX).read_text())
    (directory / "key.avsc").write_text(json.dumps(KEY))
    index["schemas"].append(
        {"id": KEY_ID, "subject": "envelopes-key", "version": 1, "file": "key.avsc"}
    )
    (directory / INDEX).write_text(json.dumps(index))
    return Registry(directory=directory)


def feed_set(kafka: Kafka, each: ForeignSet, rows: list[Row]) -> dict[int, int]:
    """Send a set's records a millisecond apart; return the next offset of each partition."""
    producer = Producer(
        client_options.common(kafka) | {"enable.idempotence": True, "linger.ms": 20}
    )
    ends = dict.fromkeys(range(PARTITIONS), 0)
    sent = 0
    for number, row in enumerate(rows):
        key = primary_key(number) if each.name == "envelopes" else row["customer_id"].encode()
        partition = partition_of(key, PARTITIONS)
        for record in each.around(number, row):
            value = None if record is None else each.encode(record)
            producer.produce(
                kafka.topics.transactions, value, key, partition, timestamp=BEGIN_MS + sent
            )
            ends[partition] += 1
            sent += 1
        producer.poll(0)
    assert producer.flush(60) == 0
    return ends


def copied(world: World, target: Kafka) -> dict[int, int]:
    """Copy the topic to another one, keyed by the customer; return the next offsets there."""
    own = Rekey(group=f"{target.group}-rekey")
    settings = world.settings.model_copy(update={"rekey": own}).of_process("rekey")
    heard = Heard(world.ends)
    loop = rekey_loop(
        settings, Deployment(world.model, world.plan, "earliest"),
        world.kafka.topics.transactions, target.topics.transactions, heard,
    )  # fmt: skip
    loop.run(lambda: loop.stop() if heard.done else None)
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for message in read_all(target, target.topics.transactions):
        ends[message.partition()] = message.offset() + 1
    return ends


@pytest.fixture
def world(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path,
    request: pytest.FixtureRequest,
) -> World:  # fmt: skip
    name, customers = request.param
    each = set_of(name)
    rows = simulate(days=52, customers=customers).to_pylist()
    kafka = kafka_topics(kafka_settings())
    store = tmp_path / "models"
    return World(
        each, rows, tmp_path, each.plan(tmp_path), write_set(each, rows, tmp_path), kafka,
        feed_set(kafka, each, rows), schemas_in(tmp_path), store,
    )  # fmt: skip


def explained(world: World) -> None:
    """Draft a mapping from the file and from the topic, then check the set's own mapping."""
    theirs = tomllib.loads((world.plan / "events.toml").read_text())
    sources: tuple[tuple[str | Path, ...], ...] = (
        ("--file", world.file), ("--topic", world.kafka.topics.transactions),
    )  # fmt: skip
    for number, source in enumerate(sources):
        draft = world.folder / f"draft-{number}.toml"
        report = world.run("events", "explain", *source, "--out", draft, "--plan", world.plan)
        assert "missing" not in report
        assert all(field["fits"] for field in report["fields"])
        assert report["transactions"] > 0
        made = tomllib.loads(draft.read_text())
        for field in ("transaction_id", "customer_id", "amount"):
            assert path_of(made, field) == path_of(theirs, field), field
        assert made["fields"]["amount"]["unit"] == theirs["fields"]["amount"]["unit"]
        checked = world.run(
            "events", "explain", *source, "--events", world.plan / "events.toml",
            "--plan", world.plan, "--records", "2000",
        )  # fmt: skip
        assert checked["rejected"] == []
        assert checked["records"] == 2_000
        assert checked["transactions"] + checked["skipped"] == 2_000
        keyed = 0 if world.each.name == "envelopes" else checked["transactions"]
        assert checked["key_is_customer"] == (keyed if number else None)


def path_of(events: dict[str, Any], field: str) -> str:
    rule = events["fields"][field]
    return str(rule if isinstance(rule, str) else rule["path"])


def trained(world: World, kind: str = "decision_tree") -> None:
    """Train on the file, and put the plan next to the model, as the command does."""
    features = write_features(world.each.name, world.folder / "features.json")
    train(
        order(
            world.file, world.store, name=world.each.name, model=kind, plan=load_plan(world.plan),
            features=features,
        )
    )  # fmt: skip
    shutil.copytree(world.plan, world.store / world.each.name, dirs_exist_ok=True)


def as_decided(found: dict[str, Any]) -> str:
    """Return a decision without the fields that depend on where and when it was made."""
    flags = [flag for flag in found["flags"] if flag != "late_decision"]
    kept = {name: value for name, value in found.items() if name not in _ASIDE}
    return repr(sorted((kept | {"flags": flags}).items()))


def in_file(world: World) -> dict[str, str]:
    """Decide the file by the batch job; return the decisions by transaction."""
    out = world.folder / "decisions.avro"
    report = world.run("batch", world.file, out, "--model", world.model)
    others = sum(
        record is not None
        for number, row in enumerate(world.rows)
        for record in world.each.others(number, row)
    )
    assert (report["rejected"], report["skipped"]) == ({}, others)
    schema = json.loads(reader_schema("decision.v2"))
    with out.open("rb") as stream:
        found: Any = fastavro.reader(stream, schema)
        header = b"\0\0\0\0\0"
        parsed = fastavro.parse_schema(schema)
        decisions = []
        for record in found:
            body = io.BytesIO()
            fastavro.schemaless_writer(body, parsed, record)
            decisions.append(decision(header + body.getvalue()))
    return {each["transaction_id"]: as_decided(each) for each in decisions}


def decided_alike(world: World) -> None:
    """Decide the set in the stream and in the file, and reproduce the stream's decisions."""
    found, _ = scored(
        world.kafka, world.ends,
        deployment=Deployment(world.model, start="earliest"), registry=world.registry,
        models=Models(directory=world.store),
    )  # fmt: skip
    assert found.dead_letters == {}
    assert found.doubled == []
    stream = {each["transaction_id"]: as_decided(each) for each in found.decisions.values()}
    assert len(stream) == len(found.decisions) == len(world.rows)
    assert stream == in_file(world)
    outcomes = {each["decision"] for each in found.decisions.values()}
    assert len(outcomes) > 1
    for depth in DEPTHS:
        again = reproduce(world.settings, Question(first_ms=0, depth=depth), lambda *_: None)
        again.refuse()
        assert again.equal == again.chosen == len(world.rows)


@pytest.mark.parametrize(
    "world", [("flat", 40), pytest.param(("cards", 150), marks=pytest.mark.thorough)],
    indirect=True, ids=str,
)  # fmt: skip
def test_a_set_is_decided_alike_in_every_way(world: World) -> None:
    explained(world)
    trained(world)
    decided_alike(world)


@pytest.mark.thorough
@pytest.mark.parametrize("world", [("cards", 150)], indirect=True, ids=str)
def test_thresholds_are_chosen_from_a_foreign_file(world: World) -> None:
    trained(world, "hist_gradient_boosting")
    chosen = world.run(
        "models", "thresholds", world.model, "--data", world.file, "--budget", "4/day",
        "--out", world.plan / "policy.toml", "--plan", world.plan,
    )  # fmt: skip
    assert abs(chosen["reviews_per_day"] - 4) < 2
    shutil.copy(world.plan / "policy.toml", world.store / "cards")
    assert load_plan(world.store / "cards").policy["default"]["review"] == chosen["review"]
    decided_alike(world)


@pytest.mark.thorough
@pytest.mark.parametrize("world", [("envelopes", 150)], indirect=True, ids=str)
def test_a_copy_of_a_set_is_decided_alike_in_every_way(
    world: World, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    explained(world)
    trained(world)
    target = kafka_topics(kafka_settings())
    ends = copied(world, target)
    copies = [message.key() for message in read_all(target, target.topics.transactions)]
    assert sorted(copies) == sorted(row["customer_id"].encode() for row in world.rows)
    decided_alike(
        World(
            world.each, world.rows, world.folder, world.plan, world.file, target, ends,
            world.registry, world.store,
        )
    )  # fmt: skip
