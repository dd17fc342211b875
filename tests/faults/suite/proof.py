"""Shows that the verifier can fail: seeded faults, and a scorer without the rebirth rule."""

import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from stream_scorer.errors import StateError
from tests.faults.suite.brokers import Ground, opened
from tests.faults.suite.kinds.network import hold_an_end
from tests.faults.suite.kinds.process import kill_after_produce
from tests.faults.suite.report import Proof
from tests.faults.suite.stage import Stage
from tests.faults.verifier.judge import Evidence, judge
from tests.faults.verifier.reader import Seen, read_to_end

Mutant = Callable[[Evidence, random.Random], Evidence]


def _decisions(evidence: Evidence) -> list[Seen]:
    letters = {seen.topic for seen in evidence.final if seen.headers}
    topics = evidence.outcome_topics - letters
    return [seen for seen in evidence.final if seen.topic in topics]


def _given(evidence: Evidence, seen: list[Seen]) -> Evidence:
    return replace(evidence, final=seen, live=seen)


def dropped(evidence: Evidence, choice: random.Random) -> Evidence:
    """Remove one of the decisions."""
    gone = choice.choice(_decisions(evidence))
    return _given(evidence, [seen for seen in evidence.final if seen is not gone])


def doubled(evidence: Evidence, choice: random.Random) -> Evidence:
    """Duplicate a decision, in the place of another record at the topic's end."""
    first = choice.choice(_decisions(evidence))
    end = max(s.offset for s in evidence.final if s.place[:2] == first.place[:2])
    last = next(s for s in evidence.final if s.place == (*first.place[:2], end))
    again = replace(first, offset=last.offset)
    return _given(evidence, [again if seen is last else seen for seen in evidence.final])


def reordered(evidence: Evidence, choice: random.Random) -> Evidence:
    """Swap two decisions that have the same key."""
    by_key: dict[bytes | None, list[Seen]] = {}
    for seen in _decisions(evidence):
        by_key.setdefault(seen.key, []).append(seen)
    one, other = choice.choice([seen for seen in by_key.values() if len(seen) > 1])[:2]
    swapped = {
        id(one): replace(other, offset=one.offset, partition=one.partition),
        id(other): replace(one, offset=other.offset, partition=other.partition),
    }
    return _given(evidence, [swapped.get(id(seen), seen) for seen in evidence.final])


MUTANTS: Mapping[str, Mutant] = {
    "lost": dropped,
    "duplicates": doubled,
    "disordered": reordered,
}


def mutants_caught(stage: Stage, seed: int) -> dict[str, bool]:
    """Return for each fault whether the verifier counts it in outputs that have it.

    Three faults are seeded into the outputs. The fourth needs no seed: a read-uncommitted reader of
    the same outputs, of a scorer that was killed in an open transaction.

    Args:
        stage: A stage with a clean verdict, in which a transaction was aborted.
        seed: Chooses the records.
    """
    choice = random.Random(seed)  # noqa: S311 faults, not secrets
    found = {}
    for fault, mutant in MUTANTS.items():
        verdict, _ = judge(mutant(stage.evidence, choice))
        found[fault] = getattr(verdict, fault) > 0
    everything = read_to_end(stage.inside.bootstrap, stage.outputs, "read_uncommitted")
    verdict, _ = judge(_given(stage.evidence, everything))
    found["aborted_visible"] = verdict.aborted_visible > 0
    return found


def _mutants(ground: Ground, seed: int, folder: Path) -> dict[str, bool]:
    folder.mkdir()
    with Stage(ground, seed, folder) as stage:
        kill_after_produce(stage)
        assert stage.verdict is not None
        assert stage.verdict.clean, stage.verdict
        return mutants_caught(stage, seed)


def rebirth_off_fails(ground: Ground, seed: int, folder: Path) -> str:
    """Run the held EndTxn with the rebirth rule switched off; return what goes wrong.

    Usually the verifier reports lost records. If there are rejections among them, the scorer itself
    may report at its next start that they are missing.
    """
    folder.mkdir()
    with Stage(ground, seed, folder) as stage:
        try:
            hold_an_end(stage, "--without-rebirth")
        except AssertionError as error:
            if f"left with {StateError.exit_code}:" not in str(error):
                raise
            return str(error)
        verdict = stage.verdict
        assert verdict is not None
        return "" if verdict.clean else f"{verdict.faults}: {verdict.examples}"


def prove(seed: int) -> Proof:
    """Show that the verifier can fail, on a separate cluster."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name, opened("one") as ground:
        caught = _mutants(ground, seed, Path(name) / "mutants")
        without = rebirth_off_fails(ground, seed, Path(name) / "without")
    told = [f"{fault}: {'caught' if seen else 'not caught'}" for fault, seen in caught.items()]
    told.append(f"without rebirth: {without or 'nothing wrong'}"[:500])
    return Proof(sum(caught.values()), len(caught), bool(without), told)
