"""With the secret keys, each draw of past decisions is checked; without them, it is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.exploring.draws import Draws, explore_digest, review_digest
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.draws import keys_of
from stream_scorer.reproduce.rescore import Bundles
from stream_scorer.reproduce.run import compare_recorded
from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.core.deciding import score
from tests.support.reproduce.reproduction_cases import altered, decoded, events, model

EXPLORE, REVIEW, OTHER = b"e" * 32, b"r" * 32, b"o" * 32
KEYS = Draws(EXPLORE, REVIEW)
PLAN = plan_from({
    "label_policy": {"unlabelled": "genuine"},
    "explore": {
        "key_digest": explore_digest(EXPLORE), "bands": [{"from": 0.001, "p": 0.5}],
        "max_amount": 10_000.0, "cap_per_day": 1e9, "expected_per_day": 1.0,
        "computed_from": "0" * 64,
    },
    "review_sample": {"key_digest": review_digest(REVIEW), "p": 0.1},
})  # fmt: skip


@pytest.fixture(scope="module")
def decisions() -> pa.RecordBatch:
    scored = score(events(), PartitionRings(model().features), Plan(), model())
    return decoded(KEYS.apply(scored.decisions, PLAN), "decision.v3")


def compared(decisions: pa.RecordBatch, keys: Draws, plan: Plan = PLAN) -> Reproduction:
    found = Reproduction("recorded", read=len(decisions), chosen=len(decisions))
    plans: Any = PlanOfAll(plan)
    compare_recorded(decisions, Bundles(FolderStore(MODELS_DIRECTORY), ANY), plans, found, keys)
    return found


class PlanOfAll:
    """One plan for every revision."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def of(self, *_: object) -> Plan:
        return self.plan


def rows_of(decisions: pa.RecordBatch, flag: str) -> list[int]:
    return [row for row, flags in enumerate(decisions.column("flags").to_pylist()) if flag in flags]


def test_all_draws_are_checked_with_the_keys(decisions: pa.RecordBatch) -> None:
    assert rows_of(decisions, "let_through")
    assert len(rows_of(decisions, "drawn")) > 100
    found = compared(decisions, KEYS)
    assert (found.differing, found.given.get("draws_not_checked")) == (0, None)
    # Every decision has the probability of the draw for review, so each depends on it.
    for keys in (Draws(), Draws(OTHER, OTHER), Draws(EXPLORE, None)):
        found = compared(decisions, keys)
        assert (found.differing, found.given["draws_not_checked"]) == (0, len(decisions))


def test_a_thief_who_was_let_through_on_purpose_is_found(decisions: pa.RecordBatch) -> None:
    # Blocked by its draw: the scorer's operator lets it through, as if it had been drawn.
    blocked = decisions.column("decision").to_pylist().index("BLOCK")
    flags = decisions.column("flags")[blocked].as_py()
    chosen = {"decision": "APPROVE", "flags": [*flags, "let_through"]}
    changed = altered(decisions, blocked, **chosen)
    assert compared(changed, Draws()).differing == 0
    found = compared(changed, KEYS)
    assert found.fields == {"outcome_propensity": 1}
    (example,) = found.examples
    assert example["recorded"] == {"probability": 0.5, "drawn": True}
    assert example["recomputed"] == {"probability": 0.5, "drawn": False}


def test_other_probabilities_and_flags_are_found(decisions: pa.RecordBatch) -> None:
    through = rows_of(decisions, "let_through")[0]
    found = compared(altered(decisions, through, outcome_propensity=0.25), KEYS)
    assert found.fields == {"outcome_propensity": 1}
    drawn = rows_of(decisions, "drawn")[0]
    flags = [each for each in decisions.column("flags")[drawn].as_py() if each != "drawn"]
    found = compared(altered(decisions, drawn, flags=flags), KEYS)
    assert found.fields == {"review_propensity": 1}
    assert found.examples[0]["recomputed"] == {"probability": 0.1, "drawn": True}
    found = compared(altered(decisions, drawn, review_propensity=0.2), KEYS)
    assert found.fields == {"review_propensity": 1}


def test_a_plan_without_draws_has_none(decisions: pa.RecordBatch) -> None:
    # Without a key it could not be told from a plan that is not known.
    assert compared(decisions, Draws(), Plan()).differing == 0
    found = compared(decisions, KEYS, Plan())
    assert found.fields["review_propensity"] == len(decisions)
    inside = np.asarray(decisions.column("outcome_propensity")) < 1
    assert found.fields["outcome_propensity"] == int(inside.sum()) > 0


def test_keys_are_read_from_private_files(tmp_path: Path) -> None:
    key = tmp_path / "explore.key"
    key.write_bytes(EXPLORE)
    key.chmod(0o600)
    assert keys_of(key, None) == Draws(EXPLORE, None)
    key.write_bytes(b"short")
    with pytest.raises(SettingsError, match="fewer than 32"):
        keys_of(key, None)
    with pytest.raises(SettingsError, match="--review-key"):
        keys_of(None, tmp_path / "none.key")
