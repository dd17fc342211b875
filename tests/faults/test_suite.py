"""The quick subset of the fault suite, and tests of its verifier; ``make test-faults`` runs all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_scorer.errors import StateError
from tests.faults.suite import kinds
from tests.faults.suite.brokers import Ground, opened
from tests.faults.suite.proof import mutants_caught, rebirth_off_fails
from tests.faults.suite.registry import KINDS, Kind
from tests.faults.suite.running import run_kind
from tests.faults.suite.stage import Stage

pytestmark = pytest.mark.kafka

SEED = 1
QUICK = [kind for kind in KINDS.values() if kind.quick]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with opened("one") as found:
        yield found


def test_there_are_kinds_of_every_family() -> None:
    assert kinds.__all__
    assert len(KINDS) >= 30
    families = {kind.family for kind in KINDS.values()}
    assert families == {"process", "group", "broker", "network", "data", "gateway"}
    assert all(kind.tells for kind in KINDS.values())


@pytest.mark.thorough
@pytest.mark.parametrize("kind", QUICK, ids=[kind.name for kind in QUICK])
def test_a_fault_happens_and_is_survived(kind: Kind, ground: Ground, tmp_path: Path) -> None:
    result = run_kind(kind, ground, SEED, tmp_path)
    assert result.error == ""
    assert result.survived
    assert result.fired > 0
    assert result.verdict["sent"] > 200


@pytest.mark.thorough
def test_seeded_faults_of_outputs_are_caught(ground: Ground, tmp_path: Path) -> None:
    with Stage(ground, SEED, tmp_path) as stage:
        KINDS["kill_after_produce"].act(stage)
        assert stage.verdict is not None
        assert stage.verdict.clean, stage.verdict
        caught = mutants_caught(stage, SEED)
    assert caught == dict.fromkeys(("lost", "duplicates", "disordered", "aborted_visible"), True)


@pytest.mark.thorough
def test_a_late_commit_loses_records_without_the_rebirth_rule(
    ground: Ground, tmp_path: Path
) -> None:
    wrong = rebirth_off_fails(ground, SEED, tmp_path / "without")
    # If there are rejections among the lost records, the next start may already fail.
    assert "'lost': " in wrong or f"left with {StateError.exit_code}:" in wrong
