"""``reproduce``: recomputes past decisions of the decisions topic.

At depth ``recorded``, a decision's score, outcome and reasons are recomputed from its recorded
features, by the bundle of the version that it names. At depth ``input``, its features, flags and
arm are recomputed, too, from the input (``from_input``).
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import Version
from stream_scorer.core.events.batch import Flag
from stream_scorer.core.exploring.draws import NO_KEYS, Draws
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.registry.sources import open_registry
from stream_scorer.reproduce.compare import (
    Expected,
    Reproduction,
    feature_rows,
    flag_bits,
    libraries,
    whole_numbers,
)
from stream_scorer.reproduce.decisions import (
    Beginnings,
    DecidedOffsets,
    Progress,
    Seen,
    Spool,
    beyond_input,
    by_version,
    recorded,
)
from stream_scorer.reproduce.draws import amounts_of, expected_draws, keys_of
from stream_scorer.reproduce.from_input import NO_TRANSACTION, InputReproduction
from stream_scorer.reproduce.plans import RecordedPlans, recorded_policy
from stream_scorer.reproduce.rescore import Bundles, ask, model_errors
from stream_scorer.reproduce.routings import RecordedRoutings, recorded_revisions, trained_bundles
from stream_scorer.reproduce.shared_plan import shared_plan
from stream_scorer.settings import Settings

Depth = Literal["recorded", "input"]
_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """The decisions to reproduce, and the depth.

    Attributes:
        depth: ``recorded`` or ``input``.
        first_ms: Event time of the first; None: from the beginning.
        end_ms: Event time after the last; None: to the end.
        transaction: Only this transaction's.
        limit: Maximum number of decisions, in the order of the topic.
        plan: Plan file or folder; None: what the control log's plans share or, without one, the
            plan next to the model's versions. Depth ``recorded`` needs only its policy.
        warm: NAME or NAME:VERSION that was kept warm (``run --warm``), for depth ``input``.
        explore_key: File of the secret key of let-through; None: these draws are not checked.
        review_key: Likewise of the draw for review.

    Raises:
        SettingsError: Neither a time nor a transaction is given, the end is not after the
            beginning, or ``warm`` is given for depth ``recorded``.
    """

    depth: Depth = "recorded"
    first_ms: int | None = None
    end_ms: int | None = None
    transaction: str | None = None
    limit: int | None = None
    plan: Path | None = None
    warm: str | None = None
    explore_key: Path | None = None
    review_key: Path | None = None

    def __post_init__(self) -> None:
        if self.first_ms is None and self.end_ms is None and self.transaction is None:
            raise SettingsError(
                "reproduce: nothing is asked for", "give --from and --to, or --transaction"
            )
        ordered = self.first_ms is None or self.end_ms is None or self.first_ms < self.end_ms
        if not ordered:
            raise SettingsError("reproduce: --to is not after --from", "exchange them")
        if self.depth == "recorded" and self.warm is not None:
            raise SettingsError(
                "reproduce: --warm has no part in what is recomputed from recorded features",
                "give --depth input, or leave it out",
            )

    @property
    def whole(self) -> bool:
        """Whether all decisions of a time are requested, so that one can be missing."""
        return self.transaction is None and self.limit is None

    def chosen(self, decisions: pa.RecordBatch) -> pa.RecordBatch:
        """Return the requested decisions, without regard to the limit."""
        times = whole_numbers(decisions.column("event_time"))
        fits = self.asks(times)
        if self.transaction is not None:
            named = pc.equal(decisions.column("transaction_id"), self.transaction)
            fits &= np.asarray(named.to_numpy(zero_copy_only=False), np.bool_)
        return decisions if fits.all() else decisions.take(pa.array(np.flatnonzero(fits)))

    def asks(self, times: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.bool_]:
        """Return bool[n]: which event times, ms, are requested."""
        fits = np.ones(len(times), np.bool_)
        if self.first_ms is not None:
            fits &= times >= self.first_ms
        if self.end_ms is not None:
            fits &= times < self.end_ms
        return fits


def reproduce(
    settings: Settings,
    question: Question,
    progress: Progress,
) -> Reproduction:
    """Recompute past decisions and compare them with what was published.

    Args:
        settings: The cluster, the topics, the registry, the store of bundles.
        question: Which decisions, and the depth.
        progress: Called with the progress.

    Raises:
        RolloutError: The control log or the activations are not complete.
        SettingsError: A topic or plan does not exist.
        UnavailableError: The broker or the store does not answer.
    """
    keys = keys_of(question.explore_key, question.review_key)
    found = Reproduction(question.depth, libraries=libraries())
    store = open_store(settings.models)
    bundles = Bundles(store, trust_of(settings.models).with_granted(trained_bundles(settings)))
    if question.depth == "recorded":
        plans = RecordedPlans(store, question.plan, recorded_revisions(settings))
        for decisions in _asked(settings, question, found, progress):
            compare_recorded(decisions, bundles, plans, found, keys)
    else:
        with tempfile.TemporaryDirectory(prefix="stream-scorer-reproduce-") as folder:
            spool = Spool(Path(folder))
            ours = settings.kafka.topics.transactions
            seen = Seen(ours)
            for decisions in _asked(settings, question, found, progress, seen):
                of_it = pc.equal(decisions.column("source_topic"), ours)
                spool.add(decisions.filter(of_it))
                elsewhere = len(decisions) - (pc.sum(of_it).as_py() or 0)
                if elsewhere:
                    found.not_compared += elsewhere
                    found.removed.append(f"{elsewhere} are of another input than {ours}")
            _from_input(settings, question, spool, seen, bundles, found, progress, keys)
    found.missing_bundles = dict(bundles.refused)
    return found


def _asked(
    settings: Settings,
    question: Question,
    found: Reproduction,
    progress: Progress,
    seen: Seen | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the requested decisions, some thousand at a time, and count them.

    With ``seen``, for depth ``input``: all decisions, requested or not, are added to it. Those of
    an offset that the input never had are only counted, as unexpected.
    """
    ours = settings.kafka.topics.transactions
    ends: Mapping[int, int] | None = None
    decided = DecidedOffsets()
    firsts, _ = bounds(settings.kafka, settings.kafka.topics.decisions)
    beginnings = Beginnings(firsts)
    for every in recorded(settings, open_registry(settings.registry), progress):
        found.read += len(every.records)
        beginnings.add(every)
        if seen is not None:
            # Read after the end of the decisions, so that it is after all their sources.
            ends = ends or bounds(settings.kafka, ours)[1]
            seen.add(every.where(~beyond_input(every.records, ours, ends)))
        chosen = question.chosen(every.records)
        if question.limit is not None:
            chosen = chosen.slice(0, question.limit - found.chosen)
        for at in range(0, len(chosen), _ROWS):
            piece = chosen.slice(at, _ROWS)
            found.chosen += len(piece)
            again = decided.again(piece)
            found.doubled += len(again)
            for row in again.tolist():
                found.note(piece, row, "decision", "decided again", None)
            for version, rows in by_version(piece):
                found.count(found.models, version.label, len(rows))
            yield piece if ends is None else _of_input(piece, ours, ends, found)
        if question.limit is not None and found.chosen >= question.limit:
            return
    if question.whole:
        found.removed += beginnings.removed(question.first_ms)


def _of_input(
    piece: pa.RecordBatch, topic: str, ends: Mapping[int, int], found: Reproduction
) -> pa.RecordBatch:
    """Leave out, and count, the decisions of an offset that the input never had."""
    forged = beyond_input(piece, topic, ends)
    found.unexpected += int(forged.sum())
    for row in np.flatnonzero(forged).tolist():
        found.note(piece, row, "decision", "published", NO_TRANSACTION)
    return piece.filter(pa.array(~forged))


def compare_recorded(
    decisions: pa.RecordBatch, bundles: Bundles, plans: RecordedPlans, found: Reproduction,
    keys: Draws = NO_KEYS,
) -> None:  # fmt: skip
    """Recompute decisions from their recorded features.

    Args:
        decisions: As published.
        bundles: Loads their versions.
        plans: The plans of their revisions.
        found: Counts the results.
        keys: Of the random draws, as far as they are known.
    """
    for version, revision, rows in _by_version_and_revision(decisions):
        mine = decisions.take(pa.array(rows))
        model = bundles.model(version)
        if model is None:
            found.not_compared += len(mine)
            continue
        failed = model_errors(mine.column("reasons"))
        width = model.predictor.feature_count
        features = np.full((len(mine), width), np.nan)
        told, right = feature_rows(mine.column("features"), width)
        features[right] = told
        plan = plans.of(revision, version.name)
        policy, given = recorded_policy(mine, model, plan)
        made = ask(model, features, failed, policy)
        found.count(found.given, "MODEL_ERROR", int(failed.sum()))
        found.count(found.given, "segment", int((given & ~failed).sum()))
        count_fallbacks(mine, found)
        columns = {
            "score": made.score, "engine": np.full(len(mine), model.features.version),
            "calibrated_score": pa.nulls(len(mine), pa.float64()),
        }  # fmt: skip
        # A decision with another number of features is compared with these, and so differs.
        stated = None if right.all() else features
        found.compare(
            mine,
            Expected.of(
                made, columns, model.features.names, features, stated, None,
                expected_draws(
                    keys, plan, mine, made.score, made.outcome, amounts_of(mine, plan)
                ),
            ),
        )  # fmt: skip


def _by_version_and_revision(
    decisions: pa.RecordBatch,
) -> Iterator[tuple[Version, int, NDArray[np.int64]]]:
    """Yield each model version and plan revision that decided some, and int64[k], its rows."""
    revisions = whole_numbers(decisions.column("plan_revision"))
    for version, rows in by_version(decisions):
        for revision in np.unique(revisions[rows]).tolist():
            yield version, revision, rows[revisions[rows] == revision]


def count_fallbacks(decisions: pa.RecordBatch, found: Reproduction) -> None:
    """Count the decisions that the champion made instead of another arm."""
    fallback = flag_bits(decisions.column("flags")) & int(Flag.FALLBACK)
    found.count(found.given, "fallback", int(np.count_nonzero(fallback)))


def _from_input(
    settings: Settings,
    question: Question,
    spool: Spool,
    seen: Seen,
    bundles: Bundles,
    found: Reproduction,
    progress: Progress,
    keys: Draws,
) -> None:
    if not spool.partitions:
        return
    routings = RecordedRoutings(settings)
    store = open_store(settings.models)
    plan = shared_plan(store, question.plan, spool, routings.newest, routings.at)
    plans = RecordedPlans(store, question.plan)
    work = InputReproduction(
        settings, plan, spool, bundles, found, routings.at, plans, question.warm, keys
    )
    for partition in spool.partitions:
        work.compare(
            partition, seen.bounds(partition) if question.whole else None, question.asks, progress
        )
