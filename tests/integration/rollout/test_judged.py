"""A controller and a scorer, both real: from shadow up the ramp by what the scorer published."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from stream_scorer.apps.controller import ControllerLoop, controller_settings
from stream_scorer.happenings import Happening, RolloutHeld
from stream_scorer.rollout.controller import IN_SHADOW
from stream_scorer.rollout.gathering import Gathering
from stream_scorer.rollout.tallies import CANARY_SIDE, CONTROL_SIDE
from stream_scorer.rollout.trial import CANARY_WAY, SHADOW_WAY
from stream_scorer.settings import MODELS_DIRECTORY, Controller, Kafka, Settings
from tests.faults.process import wait_until
from tests.faults.scene import transactions
from tests.integration.rollout.test_live import OLD, Scene, awaits

pytestmark = pytest.mark.kafka

GUARD = {"first_look": 100, "least_events": 30, "slow_call_us": 1e6, "maturity_seconds": 3_600}


@pytest.fixture
def scene(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> Iterator[Scene]:
    kafka = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    made = Scene(kafka, MODELS_DIRECTORY, tmp_path)
    made.records = transactions(days=20, customers=120)
    yield made
    made.log.close()


class Judge:
    """A controller in this process."""

    def __init__(self, scene: Scene, file: Path) -> None:
        self.told: list[Happening] = []
        own = Controller(group=f"{scene.kafka.group}-controller", state=file)
        settings = controller_settings(Settings(kafka=scene.kafka, controller=own))
        self.loop = ControllerLoop(settings, self.told.append)

    @property
    def gathering(self) -> Gathering:
        found = self.loop._controlling._gathering
        assert found is not None
        return found

    def until(self, done: Callable[[], bool], what: str) -> None:
        def step() -> bool:
            self.loop.step()
            return done()

        wait_until(step, lambda: f"{what}: {self.told[-5:]}")


def at_stage(scene: Scene, stage: int) -> bool:
    return scene.log.refresh().stage == stage


def test_a_scorers_own_records_lead_an_equal_version_from_shadow_to_half(
    scene: Scene, tmp_path: Path
) -> None:
    first = scene.plan(
        strategy="canary", versions={"champion": OLD, "canary": OLD},
        ramp=[{"percent": 0}, {"percent": 25}, {"percent": 50}], guard=GUARD, controller={},
    )  # fmt: skip
    revisions = [first]
    with scene.scorer() as process:
        process.wait_ready()
        judge = Judge(scene, tmp_path / "judge.sqlite")
        for stage in (1, 2):
            scene.feed(0.3)
            scene.decided()
            judge.until(partial(at_stage, scene, stage), f"stage {stage}")
            revisions.append(scene.log.refresh().revision)
            awaits(process, revisions[-1])
        scene.feed(0.3)
        found = scene.decided()
    arms = Counter((d["plan_revision"], d["arm"]) for d in found.decisions.values())
    expected = [sum(arms[r, arm] for r in revisions) for arm in ("canary", "control")]
    assert min(expected) > 60
    canary, shadow = (judge.gathering._ways[way] for way in (CANARY_WAY, SHADOW_WAY))
    judge.until(lambda: canary.tallies.found[0].sum() >= sum(expected), "all is counted")
    judge.loop.close()
    # Every decision counts, for the arm that it bears; none failed.
    assert canary.tallies.found[0].sum(axis=1).tolist() == expected
    assert canary.tallies.found[1].sum() == 0
    assert canary.seen == sum(n for (revision, _), n in arms.items() if revision > first)
    assert shadow.seen == len(scene.shadows()) == arms[first, "champion"]
    # Both arms' calls were timed.
    calls = canary.slots.sample()
    assert calls is not None
    assert min(calls.canary_count.sum(), calls.control_count.sum()) > 0
    # Equal versions decide alike: in shadow not one outcome differs.
    alerts = shadow.tallies.found[2]
    assert alerts[CANARY_SIDE].tolist() == alerts[CONTROL_SIDE].tolist()
    told = scene.log.refresh().verdicts["fast"].verdict
    assert told.numbers[IN_SHADOW] == 0
    assert [entry.refused for entry in scene.log.log.entries if entry.refused] == []
    assert not any(isinstance(each, RolloutHeld) for each in judge.told)
