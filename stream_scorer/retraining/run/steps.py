"""The steps of a retraining, one after another. Each names its output by digest.

A step that was killed is repeated, so each makes its output anew, or finds it complete. A step that
fails ends the run, and the champion stays. Only an unavailable broker, registry or store does not:
the step is tried again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from stream_scorer.errors import StreamScorerError, UnavailableError
from stream_scorer.retraining.gate.contract import Gated
from stream_scorer.retraining.run.contract import Run
from stream_scorer.retraining.search.contract import SearchTrial
from stream_scorer.retraining.search.search import best_of
from stream_scorer.security.canonical_json import canonical


@dataclass(frozen=True, slots=True)
class GateReport:
    """The result of the gate, and its file."""

    gated: Gated
    data: bytes


class RetrainWork(Protocol):
    """What the steps do; each method may be repeated for the same run."""

    def dataset(self, run: Run) -> str:
        """Build the dataset; return the digest of ``dataset.json``."""
        ...

    def search(self, run: Run, keep: Callable[[SearchTrial], None]) -> Sequence[SearchTrial]:
        """Return all trials; each further one is given to ``keep`` when it is finished."""
        ...

    def fit(self, run: Run) -> str:
        """Fit the best trial; return the digest of its manifest."""
        ...

    def gate(self, run: Run) -> GateReport:
        """Compare the challenger with the champion."""
        ...

    def bundle(self, run: Run) -> str:
        """Sign the bundle, and write it to the store; return the digest of its manifest."""
        ...

    def propose(self, run: Run) -> str:
        """Write the plan to the control log, unless it is there; return its command's hash."""
        ...

    def watch(self, run: Run) -> str:
        """Return how the rollout ended: ``promoted``, or why it was not; empty while it runs."""
        ...


def advance(run: Run, work: RetrainWork, keep: Callable[[Run], None]) -> Run:
    """Do the next step of a run, and return the run after it; the same run while a rollout runs.

    Args:
        run: Not ended.
        work: Does the steps.
        keep: Writes the state within a step: after each trial of the search.

    Raises:
        UnavailableError: A step must be tried again.
    """
    try:
        return _NEXT[run.step](run, work, keep)
    except UnavailableError:
        raise
    except StreamScorerError as error:
        return replace(run, step="failed", reason=f"after {run.step}: {error}")


Keep = Callable[[Run], None]


def _dataset(run: Run, work: RetrainWork, _: Keep) -> Run:
    return _reached(run, "dataset", work.dataset(run))


def _search(run: Run, work: RetrainWork, keep: Keep) -> Run:
    done = [run]

    def kept(trial: SearchTrial) -> None:
        done[0] = replace(done[0], trials=(*done[0].trials, trial))
        keep(done[0])

    trials = work.search(run, kept)
    best = best_of(trials)
    digest = hashlib.sha256(canonical({"parameters": dict(best.parameters)})).hexdigest()
    return _reached(done[0], "search", digest)


def _fit(run: Run, work: RetrainWork, _: Keep) -> Run:
    return _reached(run, "fit", work.fit(run))


def _gate(run: Run, work: RetrainWork, _: Keep) -> Run:
    report = work.gate(run)
    after = _reached(run, "gate", hashlib.sha256(report.data).hexdigest())
    if report.gated.passed:
        return after
    low, cost, high = report.gated.cost
    least, precision, most = report.gated.ap
    return replace(
        after,
        step="failed",
        reason=f"the challenger is not better: cost per decision {cost:+.4g} "
        f"({low:+.4g} to {high:+.4g}), average precision {precision:+.4g} "
        f"({least:+.4g} to {most:+.4g})",
    )


def _bundle(run: Run, work: RetrainWork, _: Keep) -> Run:
    return _reached(run, "bundle", work.bundle(run))


def _propose(run: Run, work: RetrainWork, _: Keep) -> Run:
    return _reached(run, "proposed", work.propose(run))


def _watch(run: Run, work: RetrainWork, _: Keep) -> Run:
    ended = work.watch(run)
    if not ended:
        return run
    return replace(run, step="watched", digests={**run.digests, "watched": ended})


def _end(run: Run, _: RetrainWork, __: Keep) -> Run:
    ended = run.digests["watched"]
    if ended == "promoted":
        return replace(run, step="done")
    return replace(run, step="failed", reason=ended)


def _reached(run: Run, step: str, digest: str) -> Run:
    return replace(run, step=step, digests={**run.digests, step: digest})


_NEXT = {
    "triggered": _dataset, "dataset": _search, "search": _fit, "fit": _gate, "gate": _bundle,
    "bundle": _propose, "proposed": _watch, "watched": _end,
}  # fmt: skip
