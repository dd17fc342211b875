"""Changes of a city's stream, each of a size in tolerances."""

import numpy as np
import pyarrow as pa

from bench.drift_steps.handbook_city import (
    CATEGORIES,
    TOLERANCE,
    City,
    DecidedChange,
    InputChange,
    begin_of,
    deployed,
    joined,
    times_of,
)
from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.drift.alarms.nulls import RELATIVE
from stream_scorer.models.reference.stream_values import LOGARITHM_MOST

SIZE = 2.0
"""Size of a change, in tolerances."""


def more_amount(one: City, day: int) -> InputChange:
    """Return a change that moves the amount's level by twice its tolerance, from a day on."""
    stream = next(
        each
        for each in one.reference.streams
        if (each.key.field, each.key.measure, each.key.segment) == ("amount", "level", "all")
    )
    factor = float(np.exp(SIZE * TOLERANCE * stream.scale * LOGARITHM_MOST))

    def change(table: pa.Table) -> pa.Table:
        amount = np.asarray(table["amount_minor"])
        after = times_of(table) >= begin_of(day)
        grown = np.where(after, np.rint(amount * factor), amount).astype(np.int64)
        column = table.schema.get_field_index("amount_minor")
        return table.set_column(column, table.schema.field(column), pa.array(grown))

    return change


def more_fraud(one: City, times: int = 1) -> DecidedChange:
    """Return a change of the prior: more frauds, each like one of the reference's.

    What a fraud looks like stays the same: frauds are drawn from those that were decided in the
    reference's days, with the clock's features of the time that they get. The mean score grows by
    twice its tolerance.

    Args:
        one: The city.
        times: How often twice.
    """
    wanted = (1 + SIZE * RELATIVE * times) * one.score
    # (score + more * score of a fraud) / (1 + more) = wanted, for so many more for each row.
    more = (wanted - one.score) / (float(one.frauds.score.mean()) - wanted)
    names = [each["name"] for each in deployed().manifest.features]
    clock = [place for place, name in enumerate(names) if str(name).startswith("TX_DURING")]

    def change(decisions: DecisionBatch, random: np.random.Generator) -> DecisionBatch:
        count = int(random.poisson(more * len(decisions)))
        if not count:
            return decisions
        extra = one.frauds.take(random.integers(len(one.frauds), size=count))
        rows = np.sort(random.integers(len(decisions), size=count))
        place = decisions.events.take(rows)
        column = place.records.schema.get_field_index("event_time")
        records = extra.events.records.set_column(
            column, place.records.schema.field(column), place.records.column(column)
        )
        events = EventBatch(records, place.partition, place.offset, place.timestamp)
        features = extra.features.copy()
        features[:, clock] = decisions.features[rows][:, clock]
        moved = DecisionBatch(
            events, extra.score, extra.outcome, extra.flags, features, {}, extra.model,
            extra.version, extra.arm, extra.plan_revision,
        )  # fmt: skip
        return joined([decisions, moved])

    return change


def other_categories(decisions: DecisionBatch, random: np.random.Generator) -> DecisionBatch:
    """Give a quarter of the transactions the second category: the model reads none."""
    events = decisions.events
    codes = np.asarray(events.records.column("mcc").to_pylist())
    column = events.records.schema.get_field_index("mcc")
    values = pa.array(np.where(random.random(len(codes)) < 0.25, CATEGORIES[1], codes))
    records = events.records.set_column(column, events.records.schema.field(column), values)
    other = EventBatch(records, events.partition, events.offset, events.timestamp)
    return DecisionBatch(
        other, decisions.score, decisions.outcome, decisions.flags, decisions.features, {},
        decisions.model, decisions.version, decisions.arm, decisions.plan_revision,
    )  # fmt: skip
