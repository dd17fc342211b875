"""A device's decision as bytes: one encoding, and nothing that no device produces."""

import io
import math
import random
from contextlib import suppress
from dataclasses import fields
from typing import Any

import fastavro
import pytest

from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.edge.claims.contract import DECISION_BYTES_MOST
from stream_scorer.edge.claims.decision_record import (
    SCHEMA_ID,
    EdgeClaimError,
    _schema,
    decode_decision,
    encode_decision,
)
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.edge.devices import decision_of

FULL = decision_of(
    "t1", flags=int(Flag.DEGRADED | Flag.CAPPED), terminal_watermark=5, plan_revision=7
)
FAILED = decision_of(
    "t2", score=math.nan, margin=math.nan, model_outcome=None, reasons=("MODEL_ERROR",)
)


@pytest.mark.parametrize("decision", [FULL, FAILED, decision_of("t3", reasons=())])
def test_a_decision_is_read_as_it_was_written(decision: Any) -> None:
    found = decode_decision(encode_decision(decision))
    for field in fields(decision):
        ours, theirs = getattr(decision, field.name), getattr(found, field.name)
        assert ours == theirs or (math.isnan(ours) and math.isnan(theirs)), field.name


def test_the_schema_id_is_that_of_the_shipped_registry() -> None:
    text = reader_schema("edge-decision.v1")
    assert FileRegistry(SCHEMAS_DIRECTORY).id_for("edge-decision", text) == SCHEMA_ID
    assert encode_decision(FULL)[:5] == b"\0\0\0\0\x17"


@pytest.mark.parametrize(
    "changes",
    [
        {"score": math.nan}, {"score": 1.5}, {"score": -0.1}, {"margin": math.nan},
        {"content_hash": b"x"}, {"plan_sha256": bytes(33)}, {"engine": 0}, {"plan_revision": -1},
        {"flags": int(Flag.LATE)}, {"flags": int(Flag.EDGE)}, {"features": b"1234567"},
        {"decided_at": -1}, {"terminal_watermark": 2**60}, {"reasons": ("a",) * 17},
        {"reasons": ("",)}, {"reasons": ("a" * 129,)}, {"reasons": ("a\n",)},
        {"model_outcome": None}, {"features": bytes(DECISION_BYTES_MOST)},
    ],
)  # fmt: skip
def test_no_other_decision_is_written(changes: dict[str, Any]) -> None:
    with pytest.raises(EdgeClaimError):
        encode_decision(decision_of("t1", **changes))


def _record() -> dict[str, Any]:
    body = io.BytesIO(encode_decision(FULL)[5:])
    found: Any = fastavro.schemaless_reader(body, _schema(), None)
    return dict(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"score": 2.0}, {"flags": ["late"]}, {"flags": ["edge"]}, {"flags": ["capped", "degraded"]},
        {"flags": ["degraded", "degraded"]}, {"engine": -1}, {"decided_at": 2**62},
    ],
)  # fmt: skip
def test_no_other_decision_is_read(changes: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, _schema(), _record() | changes)
    with pytest.raises(EdgeClaimError):
        decode_decision(encode_decision(FULL)[:5] + buffer.getvalue())


def test_another_encoding_of_the_same_is_refused() -> None:
    good = encode_decision(FULL)
    # Avro also takes an array in blocks with their length in bytes, and numbers with more bytes.
    at = good.index(b"\x04\x10degraded")
    blocks = b"\x03" + bytes([2 * len(b"\x10degraded\x0ccapped")])
    assert good[at + 1 : at + 17] == b"\x10degraded\x0ccapped"
    with pytest.raises(EdgeClaimError, match="one encoding"):
        decode_decision(good[:at] + blocks + good[at + 1 :])
    for other in (good + b"\0", b"\1" + good[1:], good[:5] + b"\x84\x00" + good[6:]):
        with pytest.raises(EdgeClaimError):
            decode_decision(other)


def test_cut_and_altered_bytes_are_refused_or_read_as_they_are() -> None:
    good = encode_decision(FULL)
    for end in range(len(good)):
        with pytest.raises(EdgeClaimError):
            decode_decision(good[:end])
    chance = random.Random(5)  # noqa: S311 a test's choice, not a secret
    for _ in range(3_000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(5, len(data))] = chance.randrange(256)
        with suppress(EdgeClaimError):
            assert encode_decision(decode_decision(bytes(data))) == bytes(data)


def test_more_bytes_than_a_header_may_have_are_refused_unread() -> None:
    with pytest.raises(EdgeClaimError, match="more than"):
        decode_decision(encode_decision(FULL)[:5] + bytes(DECISION_BYTES_MOST))


def test_an_outcome_stays_what_it_is() -> None:
    for outcome in Outcome:
        assert (
            decode_decision(encode_decision(decision_of("t", outcome=outcome))).outcome is outcome
        )
