"""Decisions of a killed scorer are reproduced from their recorded features and from the input."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_scorer.errors import ReproductionError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.run import Depth, Question, reproduce
from stream_scorer.settings import Kafka, Settings
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import COMMAND, ScorerProcess, environment, wait_until
from tests.support.faults.reference_run import (
    committed,
    everything_once,
    feed,
    outcome,
    transactions,
)
from tests.support.reproduce.retelling import DEPTHS, EVER, only, retold, silent, times

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def killed(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Kafka, int]:
    """Return the topics of a scorer that was killed half-way, and the number of decisions."""
    kafka = kafka_topics(kafka_settings())
    folder = tmp_path_factory.mktemp("scorers")
    every = transactions(days=60)
    # How many it decides before the kill depends on the machine; the rest is decided afterwards.
    source = SteadyFeed(kafka, every[:4_000])
    source.start()
    try:
        with ScorerProcess(kafka, folder / "first", "--from", "earliest") as scorer:
            scorer.wait_ready()
            wait_until(lambda: sum(committed(kafka).values()) > 1_000, "some are committed")
            scorer.kill()
    finally:
        first = source.stop()
    rest = feed(kafka, every[4_000:])
    ends = {partition: end + rest[partition] for partition, end in source.ends.items()}
    records = (*first, *every[4_000:])
    assert sum(committed(kafka).values()) < len(records) == sum(ends.values())
    with ScorerProcess(kafka, folder / "second") as scorer:
        scorer.wait_ready()
        wait_until(lambda: committed(kafka) == ends, lambda: f"all: {scorer.said}")
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0
    found = outcome(kafka)
    everything_once(found, records)
    return kafka, len(found.decisions)


def reproduced(kafka: Kafka, depth: Depth, **asked: Any) -> Reproduction:
    question = Question(depth, **({"first_ms": EVER} | asked))
    return reproduce(Settings(kafka=kafka), question, silent)


@pytest.mark.parametrize("depth", DEPTHS)
def test_all_of_it_is_equal_bit_for_bit(killed: tuple[Kafka, int], depth: Depth) -> None:
    kafka, decisions = killed
    assert decisions > 3_000
    found = reproduced(kafka, depth)
    found.refuse()
    assert (found.read, found.chosen, found.equal) == (decisions, decisions, decisions)
    assert (found.missing, found.unexpected, found.not_compared) == (0, 0, 0)
    assert found.models == {"fraud:1.0.0": decisions}


@pytest.fixture(scope="module")
def victim(killed: tuple[Kafka, int]) -> dict[str, Any]:
    """Return a decision from the middle with several reasons and no flags."""
    ordered = times(killed[0])
    for _, told in ordered[len(ordered) // 2 :]:
        if len(told["reasons"]) > 1 and not told["flags"]:
            return told
    raise AssertionError


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_part_of_it_and_a_single_one_are_equal(
    killed: tuple[Kafka, int], victim: dict[str, Any], depth: Depth
) -> None:
    kafka, decisions = killed
    ordered = [time for time, _ in times(kafka)]
    first, end = ordered[decisions // 2], ordered[decisions * 3 // 4]
    found = reproduced(kafka, depth, first_ms=first, end_ms=end)
    found.refuse()
    assert found.equal == sum(first <= time < end for time in ordered) > 500
    one = reproduced(kafka, depth, transaction=victim["transaction_id"])
    one.refuse()
    assert (one.chosen, one.equal) == (1, 1)
    some = reproduced(kafka, depth, limit=123)
    some.refuse()
    assert (some.chosen, some.equal) == (123, 123)


PLANTED: dict[str, tuple[dict[str, Any], dict[Depth, set[str]]]] = {
    "score": (
        {"score": lambda score: float(np.nextafter(score, 1.0))},
        {"recorded": {"score"}, "input": {"score"}},
    ),
    "decision": ({"decision": "APPROVE"}, {"recorded": {"decision"}, "input": {"decision"}}),
    "reasons": (
        {"reasons": lambda reasons: reasons[::-1]},
        {"recorded": {"reasons"}, "input": {"reasons"}},
    ),
    "arm": ({"arm": "canary"}, {"recorded": set(), "input": {"arm"}}),
    "revision": ({"plan_revision": 7}, {"recorded": set(), "input": {"plan_revision"}}),
    "propensity": ({"propensity": 0.5}, {"recorded": set(), "input": {"propensity"}}),
    "flags": ({"flags": ["late"]}, {"recorded": set(), "input": {"flags"}}),
    "decided_at": (
        {"decided_at": 5, "flags": ["late_decision"]}, {"recorded": set(), "input": set()},
    ),
    "customer": ({"customer_id": "nobody"}, {"recorded": set(), "input": {"customer_id"}}),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "score" else pytest.mark.thorough) for name in PLANTED],
)
def test_what_was_altered_is_found_and_named(
    killed: tuple[Kafka, int], victim: dict[str, Any], name: str
) -> None:
    values, wanted = PLANTED[name]
    place = victim["source_partition"], victim["source_offset"]
    other = retold(killed[0], name, only(*place, **values))
    for depth in DEPTHS:
        found = reproduced(other, depth)
        assert found.fields == dict.fromkeys(wanted[depth], 1)
        assert found.differing == bool(wanted[depth])
        if wanted[depth]:
            assert found.examples[0]["transaction_id"] == victim["transaction_id"]
            with pytest.raises(ReproductionError, match=f"1 of {killed[1]} decisions differ"):
                found.refuse()


def test_a_feature_that_was_altered_is_named(
    killed: tuple[Kafka, int], victim: dict[str, Any]
) -> None:
    def nudge(value: bytes) -> bytes:
        numbers = np.frombuffer(value, "<f8").copy()
        numbers[-1] = np.nextafter(numbers[-1], 1e9)
        return numbers.tobytes()

    place = victim["source_partition"], victim["source_offset"]
    found = reproduced(retold(killed[0], "feature", only(*place, features=nudge)), "input")
    assert found.fields == {"features": 1}
    assert found.examples[0]["field"].startswith("features.")
    assert found.examples[0]["recorded"] > found.examples[0]["recomputed"]


@pytest.mark.thorough
def test_one_that_is_gone_or_made_up_is_found(
    killed: tuple[Kafka, int], victim: dict[str, Any]
) -> None:
    kafka, decisions = killed
    place = victim["source_partition"], victim["source_offset"]

    def lose(told: dict[str, Any]) -> dict[str, Any] | None:
        return None if (told["source_partition"], told["source_offset"]) == place else told

    found = reproduced(retold(kafka, "lost", lose), "input")
    assert (found.missing, found.equal) == (1, decisions - 1)
    assert found.examples[0]["transaction_id"] == victim["transaction_id"]
    with pytest.raises(ReproductionError, match="1 are missing"):
        found.refuse()
    # A rejected record has no decision.
    letters = outcome(kafka).dead_letters
    rejected = next(at for at, letter in letters.items() if letter[0] == "DUPLICATE")
    moved = only(*place, source_partition=rejected[0], source_offset=rejected[1])
    found = reproduced(retold(kafka, "moved", moved), "input")
    assert (found.missing, found.unexpected) == (1, 1)
    assert "DUPLICATE" in [each["recomputed"] for each in found.examples]
    beyond = only(*place, source_offset=10**9)
    found = reproduced(retold(kafka, "beyond", beyond), "input")
    assert found.unexpected == 1
    assert "no transaction at this offset" in [each["recomputed"] for each in found.examples]


def test_a_plan_with_other_limits_is_found(killed: tuple[Kafka, int], tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("ring_cap = 3\n[currencies]\nEUR = 2\n")
    found = reproduced(killed[0], "input", plan=plan)
    assert found.fields["features"] > 100
    assert found.fields["flags"] > 100


@pytest.mark.thorough
def test_what_retention_took_is_named(killed: tuple[Kafka, int]) -> None:
    kafka, decisions = killed
    # A copy of the input, so that the other tests keep theirs.
    topics = kafka.topics.model_copy(update={"transactions": f"{kafka.topics.transactions}-short"})
    short = kafka.model_copy(update={"topics": topics})
    create_topics(short, 4, replication=1)
    producer = Producer(client_options.common(kafka) | {"enable.idempotence": True})
    for message in read_all(kafka, kafka.topics.transactions):
        producer.produce(
            topics.transactions, message.value(), message.key(), message.partition(),
            timestamp=message.timestamp()[1],
        )  # fmt: skip
    assert producer.flush(30) == 0
    admin = AdminClient(client_options.common(kafka))
    cut = [TopicPartition(topics.transactions, 2, 200)]
    for future in admin.delete_records(cut).values():
        future.result()

    def follow(told: dict[str, Any]) -> dict[str, Any]:
        return told | {"source_topic": topics.transactions}

    other = retold(short, "short", follow)
    found = reproduced(other, "input")
    assert found.differing == 0
    assert found.not_compared + found.equal == decisions
    assert found.not_compared >= 200
    with pytest.raises(ReproductionError, match="partition 2 of the input begins at offset 200"):
        found.refuse()
    # The other partitions have all their input, and recorded features need none.
    reproduced(other, "recorded").refuse()

    # Deleted decisions cannot be compared, so the check does not pass.
    gone = [TopicPartition(other.topics.decisions, 0, 100)]
    for future in admin.delete_records(gone).values():
        future.result()
    for depth in DEPTHS:
        with pytest.raises(ReproductionError, match="decisions of partition 0 before offset 100"):
            reproduced(other, depth).refuse()


def _command(kafka: Kafka, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 our own program
        [str(COMMAND), "reproduce", *words], capture_output=True, text=True, check=False,
        env={**os.environ, **environment(kafka)}, timeout=120,
    )  # fmt: skip


@pytest.mark.thorough
def test_a_difference_is_named_with_exit_code_13(
    killed: tuple[Kafka, int], victim: dict[str, Any]
) -> None:
    kafka, decisions = killed
    good = _command(kafka, "--from", "2018-01-01", "--depth", "input", "--json")
    assert good.returncode == 0, good.stderr
    told = json.loads(good.stdout)
    assert (told["equal"], told["chosen"]) == (decisions, decisions)
    assert {"numpy", "numba", "scikit_learn", "processor", "instructions"} <= told[
        "libraries"
    ].keys()
    place = victim["source_partition"], victim["source_offset"]
    other = retold(kafka, "told", only(*place, score=0.25))
    name = victim["transaction_id"]
    bad = _command(other, "--transaction", name)
    assert bad.returncode == 13
    assert "1 of 1 decisions differ (" in bad.stderr
    assert "score: recorded 0.25" in " ".join(bad.stdout.split())
    assert _command(kafka, "--transaction", "nobody").returncode == 13


def test_records_that_are_not_decisions_stop_it(
    killed: tuple[Kafka, int],
) -> None:
    kafka, _ = killed
    topics = kafka.topics.model_copy(update={"decisions": kafka.topics.transactions})
    other = kafka.model_copy(update={"topics": topics})
    result = _command(other, "--from", "2018-01-01")
    assert result.returncode == 4
    assert "no decision" in result.stderr
