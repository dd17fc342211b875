"""Past decisions are recomputed under the control log's plan, or under a plan file."""

from pathlib import Path

import pyarrow as pa
import pytest

from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.reproduce.decisions import Spool
from stream_scorer.reproduce.shared_plan import shared_plan
from tests.support.reproduce.reproduction_cases import altered, published

ROUTING = Routing.alone(Version("fraud", "1.0.0"), Plan(revision=4, ring_cap=77))
FOLLOWED_FROM = 20


@pytest.fixture(scope="module")
def decisions() -> pa.RecordBatch:
    """Return the decisions of source offsets 0 to 39, all of ``fraud``."""
    return published().slice(0, 40)


def plan(
    folder: Path, decisions: pa.RecordBatch, *, path: Path | None = None, followed: bool = True
) -> Plan:
    """Return the plan of decisions; from ``FOLLOWED_FROM`` on, a rollout decides."""

    def routing_at(_: int, offset: int) -> Routing | None:
        return ROUTING if followed and offset >= FOLLOWED_FROM else None

    spool = Spool(folder)
    spool.add(decisions)
    store = FolderStore(folder / "models")
    return shared_plan(store, path, spool, ROUTING if followed else None, routing_at)


def write(folder: Path, model: str, revision: int) -> None:
    """Write a model's plan file."""
    place = folder / "models" / model
    place.mkdir(parents=True)
    (place / "plan.toml").write_text(f"revision = {revision}\nring_cap = 9\n")


def test_a_cluster_that_always_followed_needs_no_plan_file(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    assert plan(tmp_path, decisions.slice(FOLLOWED_FROM)) == ROUTING.shared


def test_a_plan_file_is_not_read_for_decisions_of_a_rollout(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    write(tmp_path, "fraud", 6)
    assert plan(tmp_path, decisions.slice(FOLLOWED_FROM)).revision == 4


def test_a_decision_before_it_has_the_plan_files_revision(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    write(tmp_path, "fraud", 6)
    found = plan(tmp_path, decisions.slice(FOLLOWED_FROM - 1))
    # All other values are those of the control log.
    assert (found.revision, found.ring_cap) == (6, 77)


def test_a_plan_file_that_is_needed_and_missing_is_reported(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"fraud/plan\.toml: No such file"):
        plan(tmp_path, decisions.slice(FOLLOWED_FROM - 1))
    with pytest.raises(SettingsError, match=r"fraud/plan\.toml: No such file"):
        plan(tmp_path, decisions, followed=False)


def test_a_model_of_the_rollout_alone_needs_no_plan_file(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    write(tmp_path, "fraud", 6)
    assert plan(tmp_path, altered(decisions, 30, model="newer")).revision == 6


def test_two_models_before_a_rollout_need_files_of_one_revision(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    both = altered(decisions, 3, model="older")
    write(tmp_path, "fraud", 6)
    write(tmp_path, "older", 5)
    with pytest.raises(SettingsError, match="fraud, older decided, and it is not known whose"):
        plan(tmp_path, both)
    named = tmp_path / "models" / "older" / "plan.toml"
    assert plan(tmp_path, both, path=named) == Plan(revision=5, ring_cap=9)
    named.write_text("revision = 6\n")
    assert plan(tmp_path, both).revision == 6
    # Without a rollout, the files' other values matter too, and it is unknown which file was used.
    with pytest.raises(SettingsError, match="fraud, older decided, and it is not known whose"):
        plan(tmp_path, both, followed=False)


def test_without_a_rollout_the_plan_file_counts(decisions: pa.RecordBatch, tmp_path: Path) -> None:
    write(tmp_path, "fraud", 6)
    assert plan(tmp_path, decisions, followed=False) == Plan(revision=6, ring_cap=9)
