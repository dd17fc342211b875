"""Cities of the simulator: their stream as the core decides it, their reference, their changes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.decision.segments import segments_of
from stream_scorer.core.decision.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.nulls import RELATIVE
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.reference.build import ReferenceJob, build_reference
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import read_reference, write_reference
from stream_scorer.models.reference.rows import ReferenceRows
from stream_scorer.models.reference.stream_values import LOGARITHM_MOST
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.deployment import plan_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import Settings
from stream_scorer.simulator import simulate

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
FIRST_MS: Final = 1_522_540_800_000
WARM, REFERENCE, QUIET, AFTER = 30, 70, 15, 20
"""Days."""
BEGIN: Final = WARM + REFERENCE
SEEDS, NULL_DAYS = 10, 150
SIZE: Final = 2.0
"""Size of a change, in tolerances."""
APART: Final = 10
"""Days between two changes."""
FALSE_ALARM_DAYS: Final = 30.0
TOLERANCE: Final = 0.5
_BATCH: Final = 5_000
_PARTITIONS: Final = 4
_MCC: Final = ("5411", "5812")
Change = Callable[[pa.Table, int], pa.Table]


@dataclass(frozen=True, slots=True)
class Deployed:
    """The shipped model and its plan."""

    model: Model
    plan: Plan
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class City:
    """One seed.

    Attributes:
        number: The city's number.
        customers: How many live in it.
        reference: Made of its days 30 to 100.
        fraud_score: Mean score of a fraud in those days.
        fraud_share: Share of frauds in them.
        score: Mean score of them.
    """

    number: int
    customers: int
    reference: DriftReference
    fraud_score: float
    fraud_share: float
    score: float


# -- the stream ---------------------------------------------------------------------------------


@cache
def deployed() -> Deployed:
    """Return the shipped model."""
    settings = Settings()
    store = open_store(settings.models)
    bundle = load_bundle(find(store, "fraud:1.0.0"))
    plan = plan_of(store, "fraud", None)
    return Deployed(bundle.model(plan), plan, bundle.manifest)


def transactions(number: int, days: int, customers: int) -> pa.Table:
    """Return a city's transactions, with a merchant category for each."""
    table = simulate(days, customers=customers, terminals=2 * customers, city=number)
    chosen = np.random.default_rng(number).random(table.num_rows) < 0.3
    column = table.schema.get_field_index("mcc")
    values = pa.array(np.where(chosen, _MCC[1], _MCC[0]))
    return table.set_column(column, table.schema.field(column), values)


def times_of(table: pa.Table) -> np.ndarray:
    """Return int64[n], event times in ms."""
    return np.asarray(table["event_time"].cast(pa.int64()))


def decided(table: pa.Table) -> Iterator[tuple[InputRecords, DecisionBatch]]:
    """Decide a table in time order; yield each batch's input and decisions."""
    made = deployed()
    rings = PartitionRings(made.model.features)
    seen = 0
    for rows in table.combine_chunks().to_batches(max_chunksize=_BATCH):
        n = rows.num_rows
        customers = np.asarray(rows.column("customer_id").cast(pa.int64()))
        partition = (customers % _PARTITIONS).astype(np.int32)
        offset = np.arange(seen, seen + n)
        seen += n
        times = np.asarray(rows.column("event_time").cast(pa.int64()))
        events = EventBatch(rows, partition, offset, times)
        result = decide_alone(events, rings, made.model, made.plan)
        rings.release(result.journals)
        yield InputRecords(partition, offset, times), result.decided[0].decisions


@cache
def city(number: int, customers: int) -> City:
    """Return a city with its reference."""
    made = deployed()
    table = transactions(number, BEGIN, customers)
    parts = [decisions for _, decisions in decided(table)]
    time = np.concatenate([each.events.int64("event_time") for each in parts])
    held = time >= FIRST_MS + WARM * DAY_MS
    score = np.concatenate([each.score for each in parts])
    events = EventBatch(
        table.combine_chunks().to_batches()[0], np.zeros(len(time), np.int32),
        np.arange(len(time)), time,
    )  # fmt: skip
    segments = segments_of(made.plan)
    rows = ReferenceRows(
        events=events, features=np.concatenate([each.features for each in parts]),
        score=np.where(held, score, np.nan),
        outcome=np.concatenate([each.outcome for each in parts]),
        members=segments.members(events), training=held, held=held, rejected={},
    )  # fmt: skip
    job = ReferenceJob(
        "fraud", "1.0.0", made.manifest.features, made.model.features, made.plan, segments.names
    )
    text = write_reference(build_reference(rows, job).reference)
    fraud = np.asarray(table["is_fraud"]) & held
    return City(
        number, customers, read_reference(text, "fraud:1.0.0"), float(score[fraud].mean()),
        float(fraud.sum() / held.sum()), float(score[held].mean()),
    )  # fmt: skip


def alarms(
    one: City, days: int, changes: dict[int, Change] | None = None, *,
    versions: dict[int, str] | None = None, accepts: bool = False,
) -> list[Alarm]:  # fmt: skip
    """Return the alarms that the monitor opens in the days after the reference.

    Args:
        one: The city.
        days: Number of days that are watched.
        changes: By day, what changes from then on.
        versions: By day, the version that decides from then on.
        accepts: Whether a person accepts each alarm five days after it was opened.
    """
    made = deployed()
    table = transactions(one.number, BEGIN + days, one.customers)
    times = times_of(table)
    table = table.filter(pa.array(times >= FIRST_MS + (BEGIN - WARM) * DAY_MS))
    for day, change in sorted((changes or {}).items()):
        table = change(table, FIRST_MS + day * DAY_MS)
    budget = AlarmBudget(FALSE_ALARM_DAYS, TOLERANCE, FIRST_MS)
    watch = DriftWatch(
        budget, range(_PARTITIONS), made.plan.lateness_ms,
        lambda _, version, __: replace(one.reference, version=version),
    )  # fmt: skip
    begin = FIRST_MS + BEGIN * DAY_MS
    bins, segments = one.reference.bins, segments_of(made.plan)
    found: list[Alarm] = []
    accepted: set[str] = set()
    for read, decisions in decided(table):
        if int(read.timestamp[0]) < begin:
            continue
        day = (int(read.timestamp[-1]) - FIRST_MS) // DAY_MS
        names = [name for since, name in sorted((versions or {}).items()) if since <= day]
        part = SummaryInput(decisions, made.plan.summary_window_ms, bins, segments)
        (records,) = summarize(read, [part])
        for record in records:
            record["model_version"] = names[-1] if names else "1.0.0"
            new = watch.update(record, int(read.timestamp[-1]))
            found += [each for each in new if each.change == "opened"]
        for each in found if accepts else ():
            if each.episode not in accepted and day * DAY_MS + FIRST_MS > each.window_end + (
                5 * DAY_MS
            ):
                accepted.add(each.episode)
                watch.command(_accept(each, len(accepted)))
    return found


def _accept(alarm: Alarm, number: int) -> dict[str, Any]:
    return {
        "command_id": f"{number:032x}", "kind": "accept", "event_id": alarm.episode,
        "until": None, "at": 0, "reason": "", "key_id": "", "signature": b"",
    }  # fmt: skip


# -- changes ------------------------------------------------------------------------------------


def more_amount(one: City) -> Change:
    """Return a change that moves the amount's level by twice its tolerance."""
    stream = next(
        each
        for each in one.reference.streams
        if (each.key.field, each.key.measure, each.key.segment) == ("amount", "level", "all")
    )
    factor = float(np.exp(SIZE * TOLERANCE * stream.scale * LOGARITHM_MOST))

    def change(table: pa.Table, since: int) -> pa.Table:
        amount = np.asarray(table["amount_minor"])
        after = times_of(table) >= since
        grown = np.where(after, np.rint(amount * factor), amount).astype(np.int64)
        column = table.schema.get_field_index("amount_minor")
        return table.set_column(column, table.schema.field(column), pa.array(grown))

    return change


def more_fraud(one: City, times: int = 1) -> Change:
    """Return a change that adds frauds until the mean score has grown by twice its tolerance.

    Args:
        one: The city.
        times: How often twice.
    """
    wanted = 1 + SIZE * RELATIVE
    # (score + r share fraud) / (1 + r share) = wanted score, for r more frauds for each fraud.
    more = (wanted - 1) * one.score / (one.fraud_share * (one.fraud_score - wanted * one.score))

    def change(table: pa.Table, since: int) -> pa.Table:
        fraud = np.asarray(table["is_fraud"]) & (times_of(table) >= since)
        rows = np.flatnonzero(fraud)
        random = np.random.default_rng(one.number + 1_000 * times)
        copies = random.poisson(max(more, 0.0), len(rows))
        extra = table.take(pa.array(np.repeat(rows, copies)))
        number = extra.schema.get_field_index("transaction_id")
        names = pa.array([f"more-{times}-{n}" for n in range(extra.num_rows)], pa.string())
        extra = extra.set_column(number, extra.schema.field(number), names)
        return pa.concat_tables([table, extra]).sort_by("event_time")

    return change


def other_categories(table: pa.Table, since: int) -> pa.Table:
    """Give a quarter of one merchant category the other one's code: the model reads neither."""
    codes = np.asarray(table["mcc"].to_pylist())
    random = np.random.default_rng(1)
    moved = (times_of(table) >= since) & (random.random(len(codes)) < 0.25)
    column = table.schema.get_field_index("mcc")
    values = pa.array(np.where(moved, _MCC[1], codes))
    return table.set_column(column, table.schema.field(column), values)
