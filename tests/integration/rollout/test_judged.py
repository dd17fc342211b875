"""A real controller and a real scorer: from shadow up the ramp, by the scorer's own decisions."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_scorer.kafka.topics import client_options
from stream_scorer.rollout.controller.decide import IN_SHADOW
from stream_scorer.rollout.controller.process import ControllerLoop
from stream_scorer.rollout.evidence.bucket_counts import CANARY_SIDE, CONTROL_SIDE
from stream_scorer.rollout.evidence.collected import Gathering
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.evidence.verdicts import CANARY_WAY, FAST, SHADOW_WAY, SLOW
from stream_scorer.rollout.plan.rollout_state import Phase
from stream_scorer.settings import MODELS_DIRECTORY, Controller, Settings
from stream_scorer.telemetry import Event, RolloutHeld
from tests.support.faults.process import wait_until
from tests.support.faults.reference_run import transaction_codec, transactions
from tests.support.rollout.live_scene import FILES, Scene, awaits, scene
from tests.support.rollout.versions import OLD
from tests.support.terminals.stage import codec

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["scene"]

GUARD = {"first_look": 100, "least_events": 30, "slow_call_us": 1e6, "maturity_seconds": 3_600}


@pytest.fixture
def days() -> int:
    return 20


@pytest.fixture
def models() -> Path:
    return MODELS_DIRECTORY


class Judge:
    """A controller in this process."""

    def __init__(self, scene: Scene, file: Path) -> None:
        self.told: list[Event] = []
        own = Controller(group=f"{scene.kafka.group}-controller", state=file, label_slack_seconds=0)
        settings = Settings(kafka=scene.kafka, controller=own).of_process("controller")
        self.loop = ControllerLoop(settings, self.told.append)

    @property
    def gathering(self) -> Gathering:
        found = self.loop._controlling._gathering
        assert found is not None
        return found

    @property
    def verdicts(self) -> list[str]:
        """Return the guards' verdicts in shadow and in the canary."""
        found = (self.gathering.last(w, g) for w in (CANARY_WAY, SHADOW_WAY) for g in (FAST, SLOW))
        return [f"{each.way} {each.guard}: {each.judgement}" for each in found if each]

    def until(self, done: Callable[[], bool], what: str) -> None:
        def step() -> bool:
            self.loop.step()
            return done()

        wait_until(step, lambda: f"{what}: {self.verdicts} {self.told[-5:]}")


def at_stage(scene: Scene, stage: int) -> bool:
    return scene.log.refresh().stage == stage


def test_decisions_lead_an_equal_version_from_shadow_to_half(scene: Scene, tmp_path: Path) -> None:
    first = scene.plan(
        strategy="canary", versions={"champion": OLD, "canary": OLD},
        ramp=[{"percent": 0}, {"percent": 25}, {"percent": 50}], guard=GUARD, controller={},
    )  # fmt: skip
    revisions = [first]
    with scene.scorer() as process:
        process.wait_ready()
        judge = Judge(scene, tmp_path / "judge.sqlite")
        for stage in (1, 2):
            for _ in range(3):
                # A look inside of a transaction does not know yet how long its calls took: one
                # transaction with all records, as on a busy machine, would leave the guard unfed.
                scene.feed(0.1)
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
    # Every decision is counted for its own arm, and none failed.
    assert canary.tallies.found[0].sum(axis=1).tolist() == expected
    assert canary.tallies.found[1].sum() == 0
    assert canary.seen == sum(n for (revision, _), n in arms.items() if revision > first)
    assert shadow.seen == len(scene.shadows()) == arms[first, "champion"]
    # The calls of both arms were timed.
    calls = canary.slots.sample()
    assert calls is not None
    assert min(calls.canary_count.sum(), calls.control_count.sum()) > 0
    # Equal versions decide alike: in shadow no outcome differs.
    alerts = shadow.tallies.found[2]
    assert alerts[CANARY_SIDE].tolist() == alerts[CONTROL_SIDE].tolist()
    told = scene.log.refresh().verdicts["fast"].verdict
    assert told.numbers[IN_SHADOW] == 0
    assert [entry.refused for entry in scene.log.log.entries if entry.refused] == []
    assert not any(isinstance(each, RolloutHeld) for each in judge.told)


FRAUD_EVERY = 10
DELTA = 50.0


def labels(scene: Scene) -> None:
    """Publish a label of every transaction, known a minute after it; one in ten is a fraud."""
    tell = codec("label")
    producer = Producer(client_options.common(scene.kafka) | {"enable.idempotence": True})
    shared = ("transaction_id", "customer_id", "terminal_id", "event_time")
    for number, record in enumerate(r for r in scene.records if not r.bad):
        row = transaction_codec().decode(record.value or b"", FILES)
        known = int(row["event_time"].timestamp() * 1_000) + 60_000
        fraud = {"is_fraud": number % FRAUD_EVERY == 0, "label_time": known, "source": None}
        value = tell.encode({name: row[name] for name in shared} | fraud)
        producer.produce(scene.kafka.topics.labels, value, record.key)
    assert producer.flush(30) == 0


def test_labels_promote_a_version_that_costs_no_more(scene: Scene, tmp_path: Path) -> None:
    scene.records = transactions(days=80, customers=120)
    guard = {**GUARD, "least_frauds": 20, "least_pairs": 5, "delta": DELTA}
    first = scene.plan(
        strategy="canary", versions={"champion": OLD, "canary": OLD}, ramp=[{"percent": 50}],
        guard=guard, controller={},
    )  # fmt: skip
    with scene.scorer() as process:
        process.wait_ready()
        judge = Judge(scene, tmp_path / "judge.sqlite")
        scene.feed(0.3)
        scene.decided()
        # Without labels no frauds are known, so there is no verdict.
        judge.until(lambda: "slow" in scene.log.refresh().verdicts, "a slow verdict")
        told = scene.log.refresh().verdicts["slow"].verdict
        assert told.verdict is Verdict.NO_DATA
        labels(scene)
        scene.feed(0.5)
        scene.decided()
        judge.until(lambda: scene.log.refresh().phase is Phase.PROMOTED, "a promotion")
        state = scene.log.refresh()
        promoted = state.revision
        awaits(process, promoted)
        scene.feed(0.2)
        found = scene.decided()
    judge.loop.close()
    told = state.verdicts["slow"].verdict
    assert told.verdict is Verdict.PROMOTE
    assert min(told.numbers["frauds_canary"], told.numbers["frauds_control"]) >= 20
    assert told.numbers["benefit_low"] > -DELTA
    arms = Counter((d["plan_revision"], d["arm"]) for d in found.decisions.values())
    assert {arm for revision, arm in arms if revision == first} == {"canary", "control"}
    assert {arm for revision, arm in arms if revision == promoted} == {"champion"}
