"""Cities of the simulator: their stream as the core decides it, their reference, what is watched.

One pass decides a city's days. Changes that leave each transaction's score as it is are made to the
decisions, so several scenarios are watched in one pass.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.reference.build import ReferenceJob, build_reference
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import read_reference, write_reference
from stream_scorer.models.reference.rows import ReferenceRows
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.deployment import plan_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import Settings
from stream_scorer.simulator import simulate

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
FIRST_MS: Final = 1_522_540_800_000
WARM, REFERENCE = 30, 70
"""Days."""
BEGIN: Final = WARM + REFERENCE
FALSE_ALARM_DAYS: Final = 30.0
TOLERANCE: Final = 0.5
_ACCEPTED_AFTER: Final = 5 * DAY_MS
_BATCH: Final = 5_000
_PARTITIONS: Final = 4
CATEGORIES: Final = ("5411", "5812")
InputChange = Callable[[pa.Table], pa.Table]
"""Changes transactions before they are decided."""
DecidedChange = Callable[[DecisionBatch, np.random.Generator], DecisionBatch]
"""Changes which transactions there are, or a field that the model does not read."""


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
        reference: Made of its days 30 to 100.
        frauds: The frauds of those days, as they were decided.
        fraud_share: Share of frauds in those days.
        score: Mean score of them.
    """

    number: int
    reference: DriftReference
    frauds: DecisionBatch
    fraud_share: float
    score: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the monitor sees of a city after the reference.

    Attributes:
        days: Number of days.
        changes: By day, what changes from then on; it replaces the change before.
        versions: By day, the name of the version from then on. Model and reference stay the same.
        accepts: Whether a person accepts each alarm five days after it was opened.
    """

    days: int
    changes: Mapping[int, DecidedChange] = field(default_factory=dict)
    versions: Mapping[int, str] = field(default_factory=dict)
    accepts: bool = False


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
    """Return a city's transactions from its first day until ``days`` days after the reference.

    Each has one of two merchant categories.
    """
    table = simulate(BEGIN + days, customers=customers, terminals=2 * customers, city=number)
    chosen = np.random.default_rng(number).random(table.num_rows) < 0.3
    column = table.schema.get_field_index("mcc")
    values = pa.array(np.where(chosen, CATEGORIES[1], CATEGORIES[0]))
    return table.set_column(column, table.schema.field(column), values)


def times_of(table: pa.Table) -> np.ndarray:
    """Return int64[n], event times in ms."""
    return np.asarray(table["event_time"].cast(pa.int64()))


def begin_of(day: int) -> int:
    """Return when a day begins, ms since the epoch."""
    return FIRST_MS + day * DAY_MS


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


def referenced(number: int, batches: Iterator[tuple[InputRecords, DecisionBatch]]) -> City:
    """Take a stream's batches up to the end of the reference; return the city."""
    parts = []
    for _, decisions in batches:
        parts.append(decisions)
        if int(decisions.events.int64("event_time")[-1]) >= begin_of(BEGIN):
            break
    made = deployed()
    every = joined(parts)
    time = every.events.int64("event_time")
    held = (time >= begin_of(WARM)) & (time < begin_of(BEGIN))
    segments = segments_of(made.plan)
    rows = ReferenceRows(
        events=every.events, features=every.features, score=np.where(held, every.score, np.nan),
        outcome=every.outcome, members=segments.members(every.events), training=held, held=held,
        rejected={},
    )  # fmt: skip
    job = ReferenceJob(
        "fraud", "1.0.0", made.manifest.features, made.model.features, made.plan, segments.names
    )
    text = write_reference(build_reference(rows, job).reference)
    fraud = np.asarray(every.events.records.column("is_fraud")) & held
    return City(
        number, read_reference(text, "fraud:1.0.0"), every.take(np.flatnonzero(fraud)),
        float(fraud.sum() / held.sum()), float(every.score[held].mean()),
    )  # fmt: skip


def joined(parts: list[DecisionBatch]) -> DecisionBatch:
    """Return batches as one, without reasons."""
    records = pa.Table.from_batches([each.events.records for each in parts]).combine_chunks()
    events = EventBatch(
        records.to_batches()[0],
        *(
            np.concatenate([getattr(each.events, name) for each in parts])
            for name in ("partition", "offset", "timestamp")
        ),
    )
    score, outcome, flags, features = (
        np.concatenate([getattr(each, name) for each in parts])
        for name in ("score", "outcome", "flags", "features")
    )
    first = parts[0]
    return DecisionBatch(
        events, score, outcome, flags, features, {}, first.model, first.version, first.arm,
        first.plan_revision,
    )  # fmt: skip


# -- the monitor --------------------------------------------------------------------------------


class Watched:
    """The monitor's fold of a city in one scenario.

    Args:
        one: The city.
        scenario: What it sees.

    Attributes:
        scenario: As above.
        opened: The alarms that were opened.
    """

    def __init__(self, one: City, scenario: Scenario) -> None:
        self.scenario = scenario
        self.opened: list[Alarm] = []
        self._accepted: set[str] = set()
        budget = AlarmBudget(FALSE_ALARM_DAYS, TOLERANCE, FIRST_MS)
        self._watch = DriftWatch(
            budget, range(_PARTITIONS), deployed().plan.lateness_ms,
            lambda _, version, __: replace(one.reference, version=version),
        )  # fmt: skip

    def change(self, since: int, until: int) -> DecidedChange | None:
        """Return the change of a batch with these first and last times."""
        begun = [day for day in self.scenario.changes if begin_of(day) <= until]
        if not begun or begin_of(max(begun)) <= since:
            return self.scenario.changes[max(begun)] if begun else None
        # It begins within the batch.
        before = self.scenario.changes[min(begun)] if len(begun) > 1 else None
        return partly(self.scenario.changes[max(begun)], begin_of(max(begun)), before)

    def add(self, records: list[dict[str, Any]], now: int) -> None:
        """Add the summaries of a batch.

        Args:
            records: The summaries; not changed.
            now: Time of the batch, ms.
        """
        versions = self.scenario.versions
        begun = [day for day in versions if begin_of(day) <= now]
        version = versions[max(begun)] if begun else "1.0.0"
        for record in records:
            new = self._watch.update(record | {"model_version": version}, now)
            self.opened += [each for each in new if each.change == "opened"]
        for each in self.opened if self.scenario.accepts else ():
            if each.episode not in self._accepted and now > each.window_end + _ACCEPTED_AFTER:
                self._accepted.add(each.episode)
                self._watch.command(_accept(each, len(self._accepted)))


def partly(change: DecidedChange, since: int, before: DecidedChange | None) -> DecidedChange:
    """Return a change of the rows from a time on; another one may change the rows before."""

    def split(decisions: DecisionBatch, random: np.random.Generator) -> DecisionBatch:
        late = decisions.events.int64("event_time") >= since
        early = decisions.take(np.flatnonzero(~late))
        parts = [before(early, random) if before else early]
        return joined([*parts, change(decisions.take(np.flatnonzero(late)), random)])

    return split


def watch(
    one: City, batches: Iterator[tuple[InputRecords, DecisionBatch]],
    scenarios: Mapping[str, Scenario],
) -> dict[str, list[Alarm]]:  # fmt: skip
    """Return the alarms that the monitor opens in each scenario.

    Args:
        one: The city.
        batches: Its stream after the reference.
        scenarios: By name.
    """
    made = deployed()
    bins, segments = one.reference.bins, segments_of(made.plan)
    watched = {name: Watched(one, scenario) for name, scenario in scenarios.items()}
    random = np.random.default_rng([one.number, 1])
    for read, decisions in batches:
        since, until = int(read.timestamp[0]), int(read.timestamp[-1])
        if since < begin_of(BEGIN):
            continue
        usual = None
        for each in watched.values():
            if since >= begin_of(BEGIN + each.scenario.days):
                continue
            change = each.change(since, until)
            if change or usual is None:
                part = SummaryInput(
                    change(decisions, random) if change else decisions,
                    made.plan.summary_window_ms, bins, segments,
                )  # fmt: skip
                (records,) = summarize(read, [part])
                usual = usual if change else records
            else:
                records = usual
            each.add(records, until)
    return {name: each.opened for name, each in watched.items()}


def changed_input(
    table: pa.Table, days: int, change: InputChange
) -> Iterator[tuple[InputRecords, DecisionBatch]]:
    """Decide other transactions: the last 30 days of the reference, and what follows.

    Args:
        table: A city's transactions.
        days: Number of days after the reference.
        change: Changes the transactions.
    """
    times = times_of(table)
    used = (times >= begin_of(BEGIN - WARM)) & (times < begin_of(BEGIN + days))
    return decided(change(table.filter(pa.array(used))))


def _accept(alarm: Alarm, number: int) -> dict[str, Any]:
    return {
        "command_id": f"{number:032x}", "kind": "accept", "event_id": alarm.episode,
        "until": None, "at": 0, "reason": "", "key_id": "", "signature": b"",
    }  # fmt: skip
