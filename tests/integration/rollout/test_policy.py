"""A new policy changes only decisions after its activation, and reproduce knows it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.reproduce.retelling import DEPTHS, only, reproduced, retold
from tests.support.rollout.live_scene import Scene, awaits, by_revision, scene
from tests.support.rollout.versions import OLD, models

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["models", "scene"]

POLICY = {
    "default": {"review": 0.01, "block": 0.6},
    "segment": [{"when": {"amount_above": 60.5}, "review": 0.002, "block": 0.02}],
    "budget": {"reviews_per_day": 400},
}


@pytest.fixture
def days() -> int:
    return 14


def wanted(decision: dict[str, Any], policy: dict[str, Any]) -> str:
    """Return the expected outcome, in plain Python; the first feature is the amount."""
    told = read_manifest(MODELS_DIRECTORY / "fraud" / "1.0.0").thresholds
    limits = policy.get("default", {"review": told.review, "block": told.block})
    amount = decision["features"][0]
    for segment in policy.get("segment", []):
        if round(amount * 100) > round(segment["when"]["amount_above"] * 100):
            limits = segment
    if decision["score"] >= limits["block"]:
        return "BLOCK"
    return "REVIEW" if decision["score"] >= limits["review"] else "APPROVE"


def test_a_policy_changes_outcomes_from_its_activation_on(scene: Scene, models: Path) -> None:
    alone: dict[str, Any] = {"strategy": "champion", "versions": {"champion": OLD}}
    policies: dict[int, dict[str, Any]] = {scene.plan(**alone): {}}
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed(0.25)
        scene.decided()
        revision = scene.plan(**alone, shared={"policy": POLICY})
        policies[revision] = POLICY
        awaits(process, revision)
        scene.feed(0.25)
        process.kill()
    with scene.scorer("second") as process:
        process.wait_ready()
        scene.feed(0.25)
        scene.decided()
        revision = scene.plan(**alone, shared={"policy": {}})
        policies[revision] = {}
        awaits(process, revision)
        scene.feed(0.25)
        found = scene.decided()
    by_revision(scene, found)
    seen: Counter[tuple[int, str]] = Counter()
    for decision in found.decisions.values():
        number = decision["plan_revision"]
        assert decision["decision"] == wanted(decision, policies[number])
        seen[number, decision["decision"]] += 1
    first, second, third = policies
    assert seen[second, "REVIEW"] > 3 * max(seen[first, "REVIEW"], seen[third, "REVIEW"])
    # Under each revision, features, scores, arms and flags are those of the input.
    for depth in DEPTHS:
        told = reproduced(scene.kafka, models, depth=depth)
        told.refuse()
        assert told.equal == told.chosen == len(found.decisions) > 900
        assert ("segment" in told.given) == (depth == "recorded")

    # A decision by another revision's policy is found at both depths.
    place, victim = next(
        (at, d) for at, d in found.decisions.items()
        if d["plan_revision"] == second and wanted(d, POLICY) == "REVIEW"
        and wanted(d, {}) == "APPROVE"
    )  # fmt: skip
    other = retold(scene.kafka, "outcome", only(*place, decision="APPROVE", reasons=[]))
    told = reproduced(other, models, depth="input")
    assert told.fields["decision"] == told.differing == 1
    assert told.examples[0]["recomputed"] == victim["decision"]
    other = retold(scene.kafka, "revision", only(*place, plan_revision=first))
    told = reproduced(other, models, depth="recorded")
    assert told.fields["decision"] == told.differing == 1
