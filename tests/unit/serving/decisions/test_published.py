"""The decisions of a topic that several input topics share, and what an answer does not tell."""

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest

from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema
from stream_scorer.serving.decisions.published import PublishedDecisions
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.serving.fake_scorers import FILES, NOW_MS, TOPIC, body, payload


def test_decisions_of_another_input_topic_are_left_out() -> None:
    values = [payload(body(number), offset=number) for number in range(3)]
    offsets = np.arange(3)
    raw = RawRecords(
        BytesColumn.of(values), BytesColumn.nulls(3), None, np.zeros(3, np.int32), offsets,
        np.full(3, NOW_MS),
    )  # fmt: skip
    own = PublishedDecisions(FILES, TOPIC, SCHEMAS_DIRECTORY)
    assert [each.offset for each in own.of(raw)] == [0, 1, 2]
    other = PublishedDecisions(FILES, "refunds", SCHEMAS_DIRECTORY)
    assert list(other.of(raw)) == []


def _drawn(**changed: Any) -> bytes:
    """Return a decision of the newest version."""
    told = payload(body(1), offset=0)
    record: Any = fastavro.schemaless_reader(io.BytesIO(told[5:]), SECOND, None)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, NEWEST, {**record, **changed})
    identity = FILES.id_for("decisions-value", json.dumps(json.loads(reader_schema("decision.v3"))))
    return b"\0" + identity.to_bytes(4, "big") + out.getvalue()


SECOND = fastavro.parse_schema(json.loads(reader_schema("decision.v2")))
NEWEST = fastavro.parse_schema(json.loads(reader_schema("decision.v3")))
WHY = [{"feature": "amount", "value": 1.0, "contribution": 2.0, "text": "large"}]


@pytest.mark.parametrize("flags", [["late", "let_through"], ["late", "let_through", "drawn"]])
def test_an_answer_does_not_tell_what_was_let_through(flags: list[str]) -> None:
    values = [
        _drawn(
            flags=flags, policy_outcome="BLOCK", outcome_propensity=0.01, review_propensity=0.05,
            reasons=["R01"], explanations=WHY, model_outcome="BLOCK",
        ),
        _drawn(flags=["late"], policy_outcome="APPROVE", model_outcome="APPROVE"),
    ]  # fmt: skip
    raw = RawRecords(
        BytesColumn.of(values), BytesColumn.nulls(2), None, np.zeros(2, np.int32), np.arange(2),
        np.full(2, NOW_MS),
    )  # fmt: skip
    published = PublishedDecisions(FILES, TOPIC, SCHEMAS_DIRECTORY)
    let, plain = (published.document(each) for each in published.of(raw))
    assert let == plain
    assert let["flags"] == ["late"]
    assert not {"policy_outcome", "outcome_propensity", "review_propensity"} & let.keys()


def _plain(name: str) -> Any:
    return parse_definition(reader_schema(name), name).plain().root


def test_decisions_of_this_release_are_read_without_resolving() -> None:
    """Resolving takes an answer twice as long, and reads the same."""
    published = PublishedDecisions(FILES, TOPIC, SCHEMAS_DIRECTORY)
    answered = _plain("decision.v2")
    told = _drawn(flags=["late"], policy_outcome="APPROVE", outcome_propensity=0.99)
    for value, writer in ((told, _plain("decision.v3")), (payload(body(1), offset=0), answered)):
        assert published.schemas_of(value).reader is None
        resolved: Any = fastavro.schemaless_reader(
            io.BytesIO(value[5:]), fastavro.parse_schema(writer), fastavro.parse_schema(answered)
        )
        found = published.fields(value)
        assert found == resolved
        assert list(found) == [each["name"] for each in answered["fields"]]
