"""Records of decisions and shadow scores as columns: amounts, and what other clients may write."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import DISPUTED, FRAUD, GENUINE, UNKNOWN
from stream_scorer.errors import ModelError, UnavailableError
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.rollout.controller.columns import EvidenceColumns
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.rollout.rollout_stage import CODECS, FILES, Topics, columns, manifest_of, rollout

DAY = 86_400_000


def with_rate(routing: Routing, revision: int, yen: str) -> Routing:
    """Return a routing whose plan accepts euros and yen."""
    rates = {"base": "EUR", "JPY": {"1970-01-01": yen, "1970-01-05": "1"}}
    shared = Plan(currencies={"EUR": 2, "JPY": 0}, events={"rates": rates})
    return replace(routing, revision=revision, shared=shared)


def test_shadow_scores_cost_in_the_base_currency_of_their_plan() -> None:
    topics = Topics(rollout().routing)
    one = topics.routing.revision
    known = {
        one: topics.routing,
        one + 1: with_rate(topics.routing, one + 1, "1/160"),
        one + 2: with_rate(topics.routing, one + 2, "1/100"),
    }
    rows = [
        (one, "JPY", DAY, 1_000), (one + 1, "JPY", DAY, 1_000), (one + 2, "JPY", DAY, 1_000),
        (one + 1, "EUR", DAY, 777), (one + 1, "JPY", 5 * DAY, 3), (one + 1, "USD", DAY, 5),
        (one + 9, "JPY", DAY, 6),
    ]  # fmt: skip
    for number, (revision, currency, time, amount) in enumerate(rows):
        topics.shadow_score(
            f"t{number}", "c", time, outcome="APPROVE", decided="APPROVE", amount_minor=amount,
            currency=currency, plan_revision=revision,
        )  # fmt: skip
    shadowed, _, unreadable = columns().shadows(topics.raw(), lambda _: known)
    assert unreadable == 0
    # 1,000 yen at 1/160 are 625 cents; an amount in a currency without a rate counts as 0.
    assert shadowed.amount_minor.tolist() == [1_000, 625, 1_000, 777, 300, 0, 6]


def decide(topics: Topics, **changed: Any) -> None:
    topics.decision("t", "c", DAY, **changed)


def shadow(topics: Topics, **changed: Any) -> None:
    topics.shadow_score("t", "c", DAY, outcome="APPROVE", decided="APPROVE", **changed)


PUT = {"decisions": decide, "shadow-scores": shadow}
NAMES = [
    ("decisions", "arm"), ("decisions", "model"), ("decisions", "model_version"),
    ("shadow-scores", "arm"), ("shadow-scores", "currency"),
]  # fmt: skip


def read(topics: Topics, topic: str, by: EvidenceColumns | None = None) -> tuple[list[int], int]:
    """Return the rows of a topic's records that were read, and how many were not."""
    known = {topics.routing.revision: topics.routing}
    by = by or columns()
    if topic == "decisions":
        _, source, unreadable = by.decisions(topics.raw(), lambda _: known, 100)
    else:
        _, source, unreadable = by.shadows(topics.raw(), lambda _: known)
    return source.row.tolist(), unreadable


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """Check the memory that a block takes."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < megabytes << 20, f"{peak:,} bytes"


@pytest.mark.parametrize("topic", PUT)
def test_a_long_arm_takes_memory_once_and_not_in_each_row(topic: str) -> None:
    topics = Topics(rollout().routing)
    for _ in range(39):
        PUT[topic](topics)
    PUT[topic](topics, arm="x" * 1_000_000)
    read(topics, topic)
    with at_most(megabytes=30):
        rows, unreadable = read(topics, topic)
    assert (rows, unreadable) == (list(range(39)), 1)


@pytest.mark.parametrize(("topic", "name"), NAMES)
def test_a_record_with_a_name_over_1024_bytes_is_left_out(topic: str, name: str) -> None:
    topics = Topics(rollout().routing)
    PUT[topic](topics)
    (_, partition, value, timestamp, _) = topics.rows[0]
    named = CODECS[topic].decode(value, FILES) | {name: "\u00e9" * 513}
    topics.put(topic, partition, named, timestamp)
    # An id may be longer: only its hash is kept.
    PUT[topic](topics, transaction_id="x" * 100_000)
    assert read(topics, topic) == ([0, 2], 1)


@pytest.mark.parametrize("topic", PUT)
def test_a_record_that_no_producer_of_ours_sends_is_left_out(topic: str) -> None:
    topics = Topics(rollout().routing)
    PUT[topic](topics, transaction_id="x" * 1_200_000)
    PUT[topic](topics)
    assert read(topics, topic) == ([1], 1)


class Renamed(SchemaSource):
    """Our schemas, and one in another namespace with the id 900."""

    def __init__(self, name: str) -> None:
        self.text = json.dumps(json.loads(reader_schema(name)) | {"namespace": "other"})

    def writer_schema(self, schema_id: int) -> str:
        return self.text if schema_id == 900 else FILES.writer_schema(schema_id)

    def id_for(self, subject: str, schema: str) -> int:
        return FILES.id_for(subject, schema)


@pytest.mark.parametrize(
    ("topic", "schema"), [("decisions", "decision.v2"), ("shadow-scores", "shadow-score.v1")]
)
def test_a_record_of_another_family_is_left_out(topic: str, schema: str) -> None:
    topics, source = Topics(rollout().routing), Renamed(schema)
    PUT[topic](topics)
    (_, partition, value, timestamp, _) = topics.rows[0]
    other = RecordCodec(900, source.text).encode(CODECS[topic].decode(value, FILES))
    topics.put(topic, partition, other, timestamp)
    by = EvidenceColumns(source, SCHEMAS_DIRECTORY, lambda: manifest_of)
    assert read(topics, topic, by) == ([0], 1)


def test_the_store_is_listed_once_for_many_unknown_versions() -> None:
    listed: list[int] = []

    def manifests() -> Callable[[str], Manifest]:
        listed.append(1)

        def found(label: str) -> Manifest:
            if label.startswith("other"):
                raise ModelError(f"model {label}: is not there")
            return manifest_of(label)

        return found

    topics = Topics(rollout().routing)
    decide(topics)
    for number in range(30):
        topics.decision(f"t{number}", "c", DAY, model=f"other{number}")
    by = EvidenceColumns(FILES, SCHEMAS_DIRECTORY, manifests)
    assert read(topics, "decisions", by) == ([0], 30)
    assert len(listed) == 1
    assert read(topics, "decisions", by) == ([0], 30)
    assert len(listed) == 1


def test_a_version_is_asked_for_again_after_a_store_outage() -> None:
    down = True

    def manifests() -> Callable[[str], Manifest]:
        def found(label: str) -> Manifest:
            if down:
                raise UnavailableError("model store: does not answer")
            return manifest_of(label.replace("other", "fraud"))

        return found

    topics = Topics(rollout().routing)
    decide(topics, model="other")
    decide(topics)
    by = EvidenceColumns(FILES, SCHEMAS_DIRECTORY, manifests)
    with pytest.raises(UnavailableError):
        read(topics, "decisions", by)
    down = False
    assert read(topics, "decisions", by) == ([0, 1], 0)


def test_a_missing_model_store_stops_only_versions_of_a_revision() -> None:
    def nowhere() -> Callable[[str], Manifest]:
        raise ModelError("model store: no such directory")

    by = EvidenceColumns(FILES, SCHEMAS_DIRECTORY, nowhere)
    topics = Topics(rollout().routing)
    decide(topics, model="other")
    assert read(topics, "decisions", by) == ([], 1)
    decide(topics)
    with pytest.raises(ModelError, match="no such directory"):
        read(topics, "decisions", by)


def test_the_policys_outcome_and_its_probability_are_read() -> None:
    topics = Topics(rollout().routing)
    third = RecordCodec(19, reader_schema("decision.v3"))
    drawn = [("APPROVE", "BLOCK", 0.01), ("BLOCK", "BLOCK", 0.99), ("APPROVE", "BLOCK", 2.0),
             ("REVIEW", None, 1.0)]  # fmt: skip
    for number, (outcome, policy, chance) in enumerate(drawn):
        decide(topics, outcome=outcome)
        _, partition, value, timestamp, _ = topics.rows[number]
        record = CODECS["decisions"].decode(value, FILES) | {
            "policy_outcome": policy, "outcome_propensity": chance, "review_propensity": 0.0,
        }  # fmt: skip
        topics.rows[number] = ("decisions", partition, third.encode(record), timestamp, None)
    known = {topics.routing.revision: topics.routing}
    found, _, unreadable = columns().decisions(topics.raw(), lambda _: known, 100)
    assert unreadable == 0
    # The guards without labels see no fewer alerts.
    assert found.outcome.tolist() == [2, 2, 2, 1]
    assert found.published.tolist() == [0, 2, 0, 1]
    assert found.chance[[0, 1, 3]].tolist() == [0.01, 0.99, 1.0]
    assert np.isnan(found.chance[2])
    # A record of an earlier version has only one outcome.
    older = Topics(rollout().routing)
    decide(older, outcome="BLOCK")
    found, _, _ = columns().decisions(older.raw(), lambda _: known, 100)
    assert (found.outcome.tolist(), found.published.tolist(), found.chance.tolist()) == (
        [2], [2], [1.0],
    )  # fmt: skip


def test_the_champions_draw_is_read_with_a_shadow_score() -> None:
    topics = Topics(rollout().routing)
    shadow(topics)
    _, partition, value, timestamp, _ = topics.rows[0]
    record = CODECS["shadow-scores"].decode(value, FILES) | {
        "champion_policy_outcome": "BLOCK", "outcome_propensity": 0.25,
    }  # fmt: skip
    second = RecordCodec(21, reader_schema("shadow-score.v2"))
    topics.rows[0] = ("shadow-scores", partition, second.encode(record), timestamp, None)
    known = {topics.routing.revision: topics.routing}
    found, _, _ = columns().shadows(topics.raw(), lambda _: known)
    assert (found.decided.tolist(), found.published.tolist()) == ([2], [0])
    assert found.chance.tolist() == [0.25]


def test_labels_of_the_second_version_are_statements_with_ranks() -> None:
    topics = Topics(rollout().routing)
    codec = RecordCodec(17, reader_schema("label.v2"))
    told: list[dict[str, Any]] = [
        {"state": None, "is_fraud": True, "source": "chargeback", "label_id": "a"},
        {"state": "DISPUTED", "is_fraud": False, "source": "customer", "label_id": "a"},
        {"state": "UNKNOWN", "is_fraud": False, "source": None, "label_id": ""},
        {"state": "GENUINE", "is_fraud": False, "source": "chargeback", "retracts": "a"},
        {"state": "GENUINE", "is_fraud": False, "source": "investigation", "drawn": 0.05},
    ]
    for each in told:
        topics.label("t", "c", DAY, fraud=False, known=2 * DAY)
        _, partition, value, timestamp, _ = topics.rows[-1]
        record = CODECS["labels"].decode(value, FILES) | {
            "label_id": "", "retracts": "", "reason_code": "", "drawn": None, **each,
        }  # fmt: skip
        topics.rows[-1] = ("labels", partition, codec.encode(record), timestamp, None)
    by = columns()
    sources = ["investigation", "chargeback", "customer"]
    by.read_labels_by(Plan(label_policy={"unlabelled": "genuine", "sources": sources}))
    found, rows, unreadable = by.labels(topics.raw(), 5)
    assert (rows.tolist(), unreadable) == ([0, 1, 2, 3, 4], 0)
    assert found.state.tolist() == [FRAUD, DISPUTED, UNKNOWN, GENUINE, GENUINE]
    assert found.rank.tolist() == [2, 1, 0, 2, 3]
    # An id is that of its source, so a source cannot retract what another one states.
    assert found.retracts.tolist()[3] == found.label_id.tolist()[0] != found.label_id.tolist()[1]
    assert found.label_id.tolist()[2:] == [0, 0, 0]
    assert np.isnan(found.drawn[:4]).all()
    assert found.drawn[4] == 0.05
