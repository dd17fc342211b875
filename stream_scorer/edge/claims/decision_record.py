"""A device's decision as bytes: Avro of ``edge-decision.v1``, with its schema id in front.

A device has no schema registry, so the id is always the one of ``registry.json``. There is one
encoding of a decision: bytes that would be encoded otherwise are refused, so a signer cannot say
the same in two ways.
"""

import io
import math
from functools import cache
from typing import Any, Final

import fastavro

from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.edge.claims.contract import CHAIN_BYTES, DECISION_BYTES_MOST, EdgeDecision
from stream_scorer.registry.definition import parse_definition
from stream_scorer.settings import SCHEMAS_DIRECTORY

SCHEMA_ID: Final = 23
MODEL_ERROR: Final = ("MODEL_ERROR",)
_HEADER: Final = b"\0" + SCHEMA_ID.to_bytes(4, "big")
_FLAGS: Final = {"degraded": Flag.DEGRADED, "capped": Flag.CAPPED}
"""What a device may say of its decision: it never knows whether the transaction is late."""
_OWN_FLAGS: Final = int(Flag.DEGRADED | Flag.CAPPED)
_REASONS_MOST: Final = 16
_REASON_MOST: Final = 128
_TIME_MOST: Final = 253_402_300_799_000
"""The end of the year 9999, ms since the epoch."""


class EdgeClaimError(ValueError):
    """Bytes are not a device's decision; the message says why."""


@cache
def _schema() -> Any:
    text = (SCHEMAS_DIRECTORY / "edge-decision.v1.avsc").read_text(encoding="utf-8")
    return fastavro.parse_schema(parse_definition(text, "edge-decision").plain().root, _force=True)


def encode_decision(decision: EdgeDecision) -> bytes:
    """Return a decision as bytes.

    Raises:
        EdgeClaimError: It is not one that :func:`decode_decision` would accept.
    """
    _judge(decision)
    encoded = _encoded(decision)
    if len(encoded) > DECISION_BYTES_MOST:
        raise EdgeClaimError(f"has more than {DECISION_BYTES_MOST} bytes")
    return encoded


def decode_decision(data: bytes) -> EdgeDecision:
    """Return the decision of bytes that anyone may have written.

    Raises:
        EdgeClaimError: They are not a decision, or not in its one encoding.
    """
    if len(data) > DECISION_BYTES_MOST:
        raise EdgeClaimError(f"has more than {DECISION_BYTES_MOST} bytes")
    if data[: len(_HEADER)] != _HEADER:
        raise EdgeClaimError(f"does not begin with schema id {SCHEMA_ID}")
    try:
        found: Any = fastavro.schemaless_reader(io.BytesIO(data[len(_HEADER) :]), _schema(), None)
        decision = _decision(found)
        again = _encoded(decision)
    except Exception as error:  # fastavro may raise anything for invalid bytes
        raise EdgeClaimError(f"does not decode: {type(error).__name__}") from error
    if again != data:
        raise EdgeClaimError("is not in the one encoding of its content")
    _judge(decision)
    return decision


def _decision(found: dict[str, Any]) -> EdgeDecision:
    own = found["model_outcome"]
    flags = 0
    for name in found["flags"]:
        flags |= _FLAGS[name]
    return EdgeDecision(
        found["transaction_id"], found["model"], found["model_version"], found["content_hash"],
        found["engine"], found["plan_sha256"], found["plan_revision"], found["margin"],
        found["score"], Outcome[found["decision"]], None if own is None else Outcome[own],
        flags, tuple(found["reasons"]), found["features"],
        found["terminal_watermark"], found["decided_at"],
    )  # fmt: skip


def _encoded(decision: EdgeDecision) -> bytes:
    own = decision.model_outcome
    buffer = io.BytesIO()
    buffer.write(_HEADER)
    record = {
        "transaction_id": decision.transaction_id, "model": decision.model,
        "model_version": decision.version, "content_hash": decision.content_hash,
        "engine": decision.engine, "plan_sha256": decision.plan_sha256,
        "plan_revision": decision.plan_revision, "margin": decision.margin,
        "score": decision.score, "decision": decision.outcome.name,
        "model_outcome": None if own is None else own.name,
        "flags": [name for name, flag in _FLAGS.items() if decision.flags & flag],
        "reasons": list(decision.reasons), "features": decision.features,
        "terminal_watermark": decision.terminal_watermark, "decided_at": decision.decided_at,
    }  # fmt: skip
    fastavro.schemaless_writer(buffer, _schema(), record)
    return buffer.getvalue()


def _judge(decision: EdgeDecision) -> None:
    """Refuse a decision whose parts no device's scorer produces.

    Raises:
        EdgeClaimError: It is one; the message names the part.
    """
    times = (decision.decided_at, decision.terminal_watermark or 0)
    hashes = (decision.content_hash, decision.plan_sha256)
    least = min(len(reason) for reason in ("x", *decision.reasons))
    longest = max(len(reason) for reason in ("x", *decision.reasons))
    rules = (
        (all(len(each) == CHAIN_BYTES for each in hashes), "a hash is not 32 bytes"),
        (decision.engine >= 1 and decision.plan_revision >= 0, "engine or revision is negative"),
        (not decision.flags & ~_OWN_FLAGS, "only degraded and capped are a device's flags"),
        (len(decision.features) % 8 == 0, "its features are not doubles of 8 bytes"),
        (min(times) >= 0 and max(times) <= _TIME_MOST, "a time is before 1970 or after 9999"),
        (len(decision.reasons) <= _REASONS_MOST, f"has more than {_REASONS_MOST} reasons"),
        (least > 0 and longest <= _REASON_MOST, "a reason is empty or too long"),
        (all(map(str.isprintable, decision.reasons)), "a reason is not printable"),
        (_is_scored(decision), "its score is not that of its outcome"),
    )
    for kept, fault in rules:
        if not kept:
            raise EdgeClaimError(fault)


def _is_scored(decision: EdgeDecision) -> bool:
    """Whether the score is a probability, or NaN because the model failed."""
    if decision.model_outcome is None:
        return math.isnan(decision.score) and decision.reasons == MODEL_ERROR
    return 0.0 <= decision.score <= 1.0 and not math.isnan(decision.margin)
