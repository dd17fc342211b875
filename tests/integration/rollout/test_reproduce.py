"""Decisions of a ramp with a kill and a rollback are reproduced, including their arms."""

import base64
import signal
from pathlib import Path

import pytest

from stream_scorer.errors import RolloutError
from stream_scorer.reproduce.run import Question, reproduce
from stream_scorer.settings import Models, Settings
from tests.support.reproduce.retelling import DEPTHS, EVER, only, reproduced, retold, silent
from tests.support.rollout.live_scene import Scene, awaits, scene
from tests.support.rollout.versions import NEW, OLD, RAMP, models

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["models", "scene"]


@pytest.fixture
def days() -> int:
    return 14


def test_a_ramp_a_kill_and_a_rollback_match_unlike_a_changed_arm(
    scene: Scene,
    models: Path,
) -> None:
    with scene.scorer("pinned", model=OLD) as process:
        process.wait_ready()
        scene.feed(0.1)
        scene.decided()
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    scene.plan(strategy="champion", versions={"champion": OLD})
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed(0.15)
        scene.decided()
        ramp = [scene.plan(strategy="canary", versions={"champion": OLD, "canary": NEW}, ramp=RAMP)]
        ramp.append(scene.step(1))
        awaits(process, ramp[-1])
        scene.feed(0.2)
        scene.decided()
        ramp.append(scene.step(2))
        awaits(process, ramp[-1])
        scene.feed(0.2)
        process.kill()
    with scene.scorer("second") as process:
        process.wait_ready()
        scene.feed(0.15)
        scene.decided()
        back = scene.roll_back()
        awaits(process, back)
        scene.feed(0.2)
        found = scene.decided()
    decisions = found.decisions
    revisions = {d["plan_revision"] for d in decisions.values()}
    assert {0, 1, ramp[1], ramp[2], back} <= revisions
    for depth in DEPTHS:
        told = reproduced(scene.kafka, models, depth=depth)
        told.refuse()
        assert told.equal == told.chosen == len(decisions) > 900
        assert told.models.keys() == {OLD, NEW}

    place, victim = next((at, d) for at, d in decisions.items() if d["arm"] == "canary")
    for name, values, field in (
        ("arm", {"arm": "control"}, "arm"),
        ("revision", {"plan_revision": back}, "plan_revision"),
        ("propensity", {"propensity": 1.0}, "propensity"),
        ("version", {"model_version": "1.0.0"}, "model_version"),
    ):
        other = retold(scene.kafka, name, only(*place, **values))
        told = reproduced(other, models, depth="input")
        assert told.fields == {field: 1}
        assert told.examples[0]["recorded"] == next(iter(values.values()))
        assert told.examples[0]["recomputed"] == victim[field]

    # A log whose commands have other keys is not treated as an empty log.
    stranger = Settings(kafka=scene.kafka, models=Models(directory=models))
    key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    with pytest.raises(RolloutError, match="has no such revision that counts"):
        reproduce(
            stranger.model_copy(
                update={
                    "rollout": stranger.rollout.model_copy(
                        update={
                            "operator_keys": {"risk": _raw(key)},
                            "require_signature": True,
                        }
                    )
                }
            ),
            Question("input", first_ms=EVER),
            silent,
        )


def _raw(pem: str) -> str:
    """Return a PEM key's 32 bytes as base64."""
    return base64.b64encode(base64.b64decode(pem)[-32:]).decode()
