"""One decision as a Python object."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Explanation:
    """A feature that raised a score.

    Attributes:
        feature: Its name.
        value: Its value; NaN if it is missing.
        contribution: How much it raised the model's raw score.
        text: For people; empty if the model has no template for the feature.
    """

    feature: str
    value: float
    contribution: float
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision, as ``schemas/decision.v3.avsc`` describes its fields.

    A decision that was published as version 1 has None for fields which that version does not have.

    Attributes:
        transaction_id: Id of the transaction.
        customer_id: Its customer.
        terminal_id: Its terminal; empty without one.
        event_time: When it happened, UTC.
        decided_at: When it was decided, UTC.
        score: Probability of fraud, 0 to 1; NaN if the model failed.
        outcome: ``APPROVE``, ``REVIEW`` or ``BLOCK``: the field ``decision``.
        reasons: On REVIEW and BLOCK, names of the features that raised the score most, or
            ``MODEL_ERROR``.
        flags: Remarks on the decision, such as ``late``.
        model: Name of the model that decided.
        model_version: Its version.
        arm: Arm of the rollout.
        plan_revision: Revision of the plan.
        propensity: Probability with which the customer gets this arm.
        engine: Version of the feature semantics.
        features: The model's features by name, in its order. Without a model store their names are
            ``feature_0``, ``feature_1`` and so on.
        terminal_watermark: Newest event time of the terminal profile rows that could be used, UTC.
        source_topic: Topic of the transaction.
        source_partition: Its partition.
        source_offset: Its offset; with topic and partition it identifies the decision.
        amount_minor: Amount in minor units of the currency; None: version 1.
        currency: ISO 4217 code; None: version 1.
        channel: Such as ``POS`` or ``ECOM``; None: version 1.
        model_outcome: Outcome by the model's own thresholds; None: the model failed, or version 1.
        calibrated_score: Calibrated probability; None: the model has no calibration.
        policy_revision: Revision of the plan whose policy decided; None: version 1.
        explanations: On REVIEW and BLOCK, one for each reason; None: version 1.
        policy_outcome: Outcome before the draw of let-through; None: version 1 or 2.
        outcome_propensity: Probability of the outcome, given the policy's; 1 without a draw.
        review_propensity: Probability of the draw for review; 0 without one.
        partition: Partition of the decisions topic.
        offset: Offset in the decisions topic.
    """

    transaction_id: str
    customer_id: str
    terminal_id: str
    event_time: datetime
    decided_at: datetime
    score: float
    outcome: str
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    model: str
    model_version: str
    arm: str
    plan_revision: int
    propensity: float
    engine: int
    features: Mapping[str, float]
    terminal_watermark: datetime | None
    source_topic: str
    source_partition: int
    source_offset: int
    amount_minor: int | None
    currency: str | None
    channel: str | None
    model_outcome: str | None
    calibrated_score: float | None
    policy_revision: int | None
    explanations: tuple[Explanation, ...] | None
    policy_outcome: str | None
    outcome_propensity: float
    review_propensity: float
    partition: int
    offset: int


def decisions_of(
    records: pa.RecordBatch, features: Sequence[Mapping[str, float]]
) -> Iterator[Decision]:
    """Yield n decisions.

    Args:
        records: Columns of the decision schema, except for the features, and ``partition`` and
            ``offset`` of the topic.
        features: n rows by name.
    """
    for row, named in zip(records.to_pylist(), features, strict=True):
        row["outcome"] = row.pop("decision")
        row["reasons"], row["flags"] = tuple(row["reasons"]), tuple(row["flags"])
        told: list[dict[str, Any]] | None = row["explanations"]
        row["explanations"] = None if told is None else tuple(Explanation(**each) for each in told)
        yield Decision(features=named, **row)
