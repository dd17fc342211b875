"""Recomputes past decisions from the input: folds it as the scorer did, and decides again.

Each partition's retained input is folded into empty rings, from the oldest event that a requested
decision can see. Terminal profile rows are read from their topic. Each decision has the watermark
of the rows that it could use (``terminal_watermark``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping
from stream_scorer.codec.writing.encode import without_nulls
from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.observe import ObservedBatch, PartitionRings, observe, refold
from stream_scorer.core.decision.policy import policy_for
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.batch import EventBatch, Flag
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import NO_KEYS, Draws
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.errors import ModelError, SettingsError, StateError
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.models.bundles.loader import Bundle, check_features, models_under
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import open_registry
from stream_scorer.reproduce.arms import RoutingAt, arms_of, routings
from stream_scorer.reproduce.compare import (
    MOST_EXAMPLES,
    Expected,
    Reproduction,
    flag_bits,
    whole_numbers,
)
from stream_scorer.reproduce.decisions import Progress, Spool
from stream_scorer.reproduce.draws import expected_draws
from stream_scorer.reproduce.plans import RecordedPlans
from stream_scorer.reproduce.rescore import Bundles, ask, model_errors
from stream_scorer.reproduce.terminals import RecordedTerminals
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.state.partitions.refold import input_of, others_of
from stream_scorer.state.partitions.rejected_offsets import Rejected
from stream_scorer.state.stores.open import owner_of
from stream_scorer.state.stores.topic_store import TopicStore

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

NO_TRANSACTION = "no transaction at this offset"

_EVICTED_AT_ONCE = 4_096
_SAME = ("transaction_id", "customer_id", "terminal_id")


class InputReproduction:
    """Recomputes the decisions of one partition after another.

    Args:
        settings: The cluster, the input, the registry.
        plan: The plan that all models shared.
        spool: The decisions.
        bundles: Loads their versions.
        found: Counts the results.
        routing_at: Returns the routing that was active at an offset.
        plans: The plans whose policy was used without a routing.
        warm: NAME or NAME:VERSION that was kept warm.
        keys: Of the random draws, as far as they are known.

    Raises:
        ModelError: The warm version is missing or refused.
        SettingsError: A topic does not exist.
        UnavailableError: The broker or the store does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        spool: Spool,
        bundles: Bundles,
        found: Reproduction,
        routing_at: RoutingAt,
        plans: RecordedPlans,
        warm: str | None = None,
        keys: Draws = NO_KEYS,
    ) -> None:
        self._kafka = settings.kafka
        self._owner = owner_of(settings)
        self._plan = plan
        self._spool = spool
        self._found = found
        self._routing_at = routing_at
        self._plans = plans
        self._keys = keys
        registry = open_registry(settings.registry)
        self._decoders = EventDecoders(registry, settings.registry.directory)
        self._blind = 0
        self._low, self._high = bounds(settings.kafka, settings.kafka.topics.transactions)
        routed = self._routed()
        versions = sorted(spool.versions | {v for each in routed for v in each.versions.values()})
        known = {version: bundles.bundle(version) for version in versions}
        loaded = {version: bundle for version, bundle in known.items() if bundle is not None}
        beside = [bundles.named(warm)] if warm is not None else []
        self._plans_of = _differing([plan, *(each.shared for each in routed)])
        self._models = self._compiled(loaded, beside) if loaded else {}
        self._terminals = None
        by_terminal = [m for m in self._models.values() if m.features.by_terminal]
        if by_terminal:
            delayed = by_terminal[0].features.engine.delayed
            oldest = min(spool.earliest.values()) - delayed.longest_ms
            self._terminals = RecordedTerminals(settings, registry, plan, delayed, oldest)

    def _routed(self) -> list[Routing]:
        """Return the routings that were active between each partition's first and last decision."""
        found = {
            routing.revision: routing
            for partition in self._spool.partitions
            for _, _, routing in routings(
                self._routing_at, partition, *self._spool.bounds(partition)
            )
            if routing is not None
        }
        return [found[revision] for revision in sorted(found)]

    def _compiled(
        self, loaded: Mapping[Version, Bundle], beside: Sequence[Bundle]
    ) -> dict[tuple[int, Version], Model]:
        """Return each version, compiled for each plan that it fits, by (plan's number, version).

        Raises:
            ModelError: A version does not fit any of the plans.
        """
        asked = [
            (number, version, bundle)
            for version, bundle in loaded.items()
            for number in self._fitting(bundle)
        ]
        under = [(bundle, self._plans_of[number]) for number, _, bundle in asked]
        models = models_under([*under, *((bundle, self._plan) for bundle in beside)])
        return {
            (number, version): model
            for (number, version, _), model in zip(asked, models, strict=False)
        }

    def _fitting(self, bundle: Bundle) -> list[int]:
        """Return the numbers of the plans that have what a version's features need."""
        found = []
        refused: ModelError | None = None
        for number, plan in enumerate(self._plans_of):
            try:
                check_features(bundle.manifest, plan)
            except ModelError as error:
                refused = error
            else:
                found.append(number)
        if refused is not None and not found:
            raise refused
        return found

    def _number(self, plan: Plan) -> int:
        """Return the number of the plan by which features mean the same as by the given one."""
        return next(at for at, each in enumerate(self._plans_of) if _same_fields(each, plan))

    def compare(
        self,
        partition: int,
        seen: tuple[int, int] | None,
        asks: Callable[[Int64], Bool],
        progress: Progress,
    ) -> None:
        """Fold a partition's input and compare its decisions.

        Args:
            partition: Partition of the input.
            seen: Source offsets of the first and last decision that the topic has of it: a
                transaction between them without a decision is missing; None: none can be missing.
            asks: Returns which event times are requested.
            progress: Called with the progress.
        """
        first, end = self._spool.bounds(partition)
        low, high = self._low.get(partition, 0), self._high.get(partition, 0)
        if first < low:
            gone = len(self._spool.between(partition, first, min(low, end)))
            self._found.not_compared += gone
            self._found.removed.append(
                f"{gone} decisions: partition {partition} of the input begins at offset {low}"
            )
        model = next(iter(self._models.values()), None)
        if model is None:
            self._found.not_compared += len(self._spool.between(partition, max(first, low), end))
            return
        retention, read_by = model.features.engine.retention, model.features.engine.read_by
        oldest = self._spool.earliest[partition] - retention.horizon_ms - retention.lateness_ms
        rings, beginning, done = PartitionRings(model.features), Beginning(), low
        rejected = self._rejections(partition)
        for reading, polled in self._by_mapping(partition, low, min(end, high)):
            # Records that were rejected then are skipped: today they might be accepted.
            left = others_of(rejected, polled, self._kafka, partition)
            raw = polled.where(np.zeros(len(polled), np.bool_)) if left is None else left
            every, _, _ = self._decoders.decode(raw, reading, read_by)
            beginning.read(every, reading)
            events = every.take(np.flatnonzero(every.int64("event_time") >= oldest))
            until = int(polled.offset[-1]) + 1
            if until <= first:
                rings.release(refold(events, rings, reading, model.features))
            else:
                folded = observe(events, rings, reading, model.features)
                whole_from = beginning.whole_from(retention.lateness_ms) if low else int(NEVER)
                covered_from = whole_from + retention.horizon_ms if low else whole_from
                piece = _Piece(
                    partition, max(done, first), until, events, folded, covered_from, rejected
                )
                self._judge(piece, seen, asks)
                rings.release(folded.journals)
            done = until
            rings.of(partition).evict(_EVICTED_AT_ONCE)
            progress(f"partition {partition}", done - low, end - low)
        if max(done, first) < end:
            rest = self._spool.between(partition, max(done, first), end)
            self._refuse(rest, np.arange(len(rest)), None)
        if self._blind:
            self._found.removed.append(
                f"{self._blind} decisions: what their windows need of partition {partition} of the "
                f"input, which begins at offset {low}, or of terminals' rows, is deleted"
            )
            self._blind = 0

    def _by_mapping(
        self, partition: int, first: int, end: int
    ) -> Iterator[tuple[Plan, RawRecords]]:
        """Yield a partition's input in parts that one mapping decodes, with its plan."""
        timeline = [
            (begin, self._plan if routing is None else routing.shared)
            for begin, _, routing in routings(self._routing_at, partition, first, end)
        ]
        for polled in input_of(self._kafka, partition, first, end):
            yield from by_mapping(polled, timeline)

    def _rejections(self, partition: int) -> Rejected:
        """Return the records of a partition that the scorer's group rejected.

        Without the state topic there are none: no scorer that writes rejections there has run.

        Raises:
            StateError: A record is damaged.
            UnavailableError: The broker does not answer.
        """
        owner = self._owner
        rejected = Rejected(owner, partition)
        try:
            for records in TopicStore(self._kafka, owner).read(partition):
                rejected.add(records)
            rejected.settle()
        except SettingsError:
            return rejected
        except ValueError as error:
            raise StateError(
                f"checkpoint of {owner.topic} partition {partition}: {error}",
                "with every scorer of the group stopped: stream-scorer state rebuild",
            ) from error
        return rejected

    def _judge(
        self, piece: "_Piece", seen: tuple[int, int] | None, asks: Callable[[Int64], Bool]
    ) -> None:
        """Compare the decisions of a piece of the input with the recomputed ones."""
        decisions = self._spool.between(piece.partition, piece.first, piece.end)
        covered = self._covered(decisions, piece.covered_from)
        blind = len(decisions) - len(covered)
        self._found.not_compared += blind
        self._blind += blind
        published = whole_numbers(decisions.column("source_offset"))
        decisions, offsets = decisions.take(pa.array(covered)), published[covered]
        accepted = piece.folded.accepted
        known = piece.events.offset[accepted]
        at = np.minimum(np.searchsorted(known, offsets), max(len(known) - 1, 0))
        fits = known[at] == offsets if len(known) else np.zeros(len(at), np.bool_)
        self._refuse(decisions, np.flatnonzero(~fits), piece)
        rows = np.flatnonzero(fits)
        for first, end, routing in routings(
            self._routing_at, piece.partition, piece.first, piece.end
        ):
            mine = rows[(offsets[rows] >= first) & (offsets[rows] < end)]
            if len(mine):
                of_input = accepted[at[mine]]
                self._decide(decisions.take(pa.array(mine)), piece, of_input, routing)
        if seen is not None:
            wanted = asks(piece.events.int64("event_time")[accepted])
            wanted &= (known >= seen[0]) & (known <= seen[1]) & ~np.isin(known, published)
            self._miss(piece, accepted[wanted])

    def _covered(self, decisions: pa.RecordBatch, covered_from: int) -> Int64:
        """Return the rows whose windows are covered by the retained input and rows."""
        times = whole_numbers(decisions.column("event_time"))
        covered = times >= covered_from
        if self._terminals is not None:
            covered &= times >= self._terminals.covered_from
        return np.flatnonzero(covered)

    def _refuse(self, decisions: pa.RecordBatch, rows: Int64, piece: "_Piece | None") -> None:
        """Note decisions whose transaction is not in the input, or is rejected."""
        self._found.unexpected += len(rows)
        offsets = whole_numbers(decisions.column("source_offset"))
        for row in rows.tolist():
            why = NO_TRANSACTION
            if piece is not None:
                refused = piece.folded.rejections
                place = np.flatnonzero(piece.events.offset[refused.rows] == offsets[row])
                why = refused.reasons[place[0]].value if len(place) else why
                why = piece.rejected.reason(int(offsets[row])) or why
            self._found.note(decisions, row, "decision", "published", why)

    def _miss(self, piece: "_Piece", rows: Int64) -> None:
        """Note transactions that should have been decided."""
        self._found.missing += len(rows)
        lost = piece.events.take(rows)
        ids = lost.records.column("transaction_id")
        for row in range(min(len(rows), MOST_EXAMPLES)):
            place = {
                "transaction_id": ids[row].as_py(),
                "source_topic": self._kafka.topics.transactions,
                "source_partition": piece.partition, "source_offset": int(lost.offset[row]),
            }  # fmt: skip
            self._found.note_at(place, "decision", None, "decided")

    # -- what a decision should be ----------------------------------------------------------

    def _decide(
        self, decisions: pa.RecordBatch, piece: "_Piece", rows: Int64, routing: Routing | None
    ) -> None:
        """Compare decisions with what a routing decides for the given rows of the piece."""
        events = piece.events.take(rows)
        flags, observed = piece.folded.flags[rows].astype(np.int64), piece.folded.observed[rows]
        recorded_flags = flag_bits(decisions.column("flags"))
        lacking, watermark = self._see_terminals(decisions, events, observed)
        arms = arms_of(decisions, events, recorded_flags, routing, self._plan.revision)
        number_of_plan = self._number(self._plan if routing is None else routing.shared)
        for number, version in enumerate(arms.versions):
            mine = np.flatnonzero(arms.version == number)
            model = self._models.get((number_of_plan, version))
            if model is None:
                self._found.not_compared += len(mine)
                continue
            told = decisions.take(pa.array(mine))
            failed = model_errors(told.column("reasons"))
            features = model.features.compute(events.take(mine), observed[mine])
            plan = self._plans.pinned(version.name) if routing is None else routing.shared
            policy = policy_for(events.take(mine), plan, model.thresholds, model.on_model_error)
            made = ask(model, features, failed, policy)
            fallback = arms.fallback[mine]
            bits = flags[mine] | np.where(fallback, int(Flag.FALLBACK), 0)
            if model.features.by_terminal:
                bits |= np.where(lacking[mine], int(Flag.DEGRADED), 0)
                times = watermark[mine]
            else:
                times = np.full(len(mine), NEVER)
            records = events.records.take(pa.array(mine))
            columns = {
                **{name: without_nulls(records.column(name)) for name in _SAME},
                "event_time": events.int64("event_time")[mine],
                "score": made.score, "model": version.name, "model_version": version.version,
                "arm": arms.arm.take(pa.array(mine)), "plan_revision": arms.revision,
                "propensity": arms.propensity[mine], "engine": model.features.version,
                "terminal_watermark": times,
                "amount_minor": events.int64("amount_minor")[mine],
                "currency": records.column("currency"), "channel": records.column("channel"),
                "calibrated_score": pa.nulls(len(mine), pa.float64()),
                "policy_revision": arms.revision,
            }  # fmt: skip
            self._found.count(self._found.given, "MODEL_ERROR", int(failed.sum()))
            self._found.count(self._found.given, "fallback", int(fallback.sum()))
            self._found.compare(
                told,
                Expected.of(
                    made, columns, model.features.names, features, features, bits,
                    expected_draws(
                        self._keys, plan, told, made.score, made.outcome, events.amounts[mine]
                    ),
                ),
            )  # fmt: skip

    def _see_terminals(
        self, decisions: pa.RecordBatch, events: EventBatch, observed: Float64
    ) -> tuple[Bool, Int64]:
        """Write what events saw of terminals; return whose rows were missing, and watermarks."""
        if self._terminals is None:
            return np.zeros(len(events), np.bool_), np.full(len(events), NEVER)
        recorded = whole_numbers(decisions.column("terminal_watermark"))
        degraded = flag_bits(decisions.column("flags")) & int(Flag.DEGRADED) != 0
        seen = self._terminals.observe(events, recorded, observed)
        # Rows may have been evicted before a very late event: only the recorded flag shows that.
        left = degraded & ~seen.lacking
        self._found.count(self._found.given, "terminals' rows had left", int(left.sum()))
        return seen.lacking | left, seen.watermark


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some input of a partition, and the result of its fold.

    Attributes:
        partition: Partition of the input.
        first: First offset whose decision is compared.
        end: The offset after the last one.
        events: Its transactions.
        folded: The result of the fold.
        covered_from: Event time, ms, from which windows are covered by the retained input.
        rejected: The rejected records of the partition.
    """

    partition: int
    first: int
    end: int
    events: EventBatch
    folded: ObservedBatch
    covered_from: int
    rejected: Rejected


def _same_fields(one: Plan, other: Plan) -> bool:
    """Whether features mean the same by two plans that share all on which state depends."""
    return (
        one.extras == other.extras
        and one.events.get("extra") == other.events.get("extra")
        and one.has_terminals == other.has_terminals
    )


def _differing(plans: Sequence[Plan]) -> list[Plan]:
    """Return plans without those by which features mean the same as by an earlier one."""
    found: list[Plan] = []
    for plan in plans:
        if not any(_same_fields(each, plan) for each in found):
            found.append(plan)
    return found
