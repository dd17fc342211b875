"""Controllers on a real broker: steps, a takeover, and exactly one rollback on harm."""

import base64
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.errors import OffsetsError, SettingsError, StateError
from stream_scorer.kafka.loop.leader import Leadership
from stream_scorer.kafka.topics import client_options
from stream_scorer.rollout.controller.process import ControllerLoop
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.evidence.label_join import LabelJoin
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.rollout.plan.rollout_state import Phase, RolloutState
from stream_scorer.settings import Controller, Kafka, Rollout, Scorer, Settings
from stream_scorer.telemetry import (
    BatchCommitted,
    Event,
    PartitionsAssigned,
    RolloutHeld,
    RolloutMoved,
)
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.rollout.rollout_stage import NEW, OLD, PARTITIONS, Topics, louder
from tests.support.rollout.scene import CANARY

pytestmark = pytest.mark.kafka

OPERATOR, OWN = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
_DEADLINE_SECONDS = 120.0
ROLLED_BACK = {"kind": "rollback", "how": "done"}


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def plan(**changed: Any) -> Any:
    rules = {"first_look": 40, "least_events": 20, "maturity_seconds": 3_600}
    return plan_of(
        {
            **CANARY,
            "versions": {"champion": OLD, "canary": NEW},
            "ramp": [{"percent": 25.0, "least_seconds": 3_600}, {"percent": 50.0}],
            "guard": rules,
            "controller": {"key": public(OWN)},
            **changed,
        }
    )


class Scene:
    """A cluster's topics, an operator's log, and controllers with one file each."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.kafka = kafka
        self._folder = folder
        self._key = folder / "key.pem"
        pem = OWN.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )  # fmt: skip
        self._key.touch(0o600)
        self._key.write_bytes(pem)
        self.told: dict[str, list[Event]] = {}
        self.log = ControlLog(self.settings("operator"))

    def settings(self, name: str, **changed: Any) -> Settings:
        own = Controller(
            group=f"{self.kafka.group}-controller", state=self._folder / f"{name}.sqlite",
            key=self._key,
        )  # fmt: skip
        rollout = Rollout(operator_keys={"ann": public(OPERATOR)}, require_signature=True)
        kafka = self.kafka.model_copy(update={"instance": f"{self.kafka.instance}-{name}"})
        slowly = Scorer(maximum_batch=changed.pop("maximum_batch", 25_000))
        own = own.model_copy(update=changed)
        return Settings(kafka=kafka, rollout=rollout, controller=own, scorer=slowly)

    def controller(self, name: str, **changed: Any) -> ControllerLoop:
        told = self.told.setdefault(name, [])
        settings = self.settings(name, **changed).of_process("controller")
        return ControllerLoop(settings, told.append)

    def start(self, **changed: Any) -> None:
        self.log.append(CommandKind.PLAN, plan(**changed), OPERATOR)

    def traffic(self, factor: int, first: int) -> None:
        """Publish decisions and summaries by the newest routing, in one transaction."""
        routing = self.log.refresh().routing
        assert routing is not None
        names = {
            "decisions": self.kafka.topics.decisions, "summaries": self.kafka.topics.summaries,
        }  # fmt: skip
        producer = Producer(client_options.producer(self.kafka, f"{self.kafka.group}-{first}"))
        producer.init_transactions(10)
        producer.begin_transaction()
        for topic, partition, value, _, headers in louder(Topics(routing), factor, first).rows:
            producer.produce(names[topic], value, partition=partition, headers=headers)
        producer.commit_transaction(30)

    def until(self, done: Callable[[RolloutState], bool], *loops: ControllerLoop) -> RolloutState:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not done(state := self.log.refresh()):
            assert time.monotonic() < deadline, self.told
            for loop in loops:
                loop.step()
        return state

    def led(self, name: str) -> bool:
        return any(isinstance(each, PartitionsAssigned) for each in self.told[name])


@pytest.fixture
def scene(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> Scene:
    return Scene(kafka_topics(kafka_settings(session_timeout_ms=6_000), PARTITIONS), tmp_path)


def test_a_controller_steps_hands_over_and_rolls_back_once(scene: Scene) -> None:
    scene.start()
    first = scene.controller("a")
    scene.traffic(1, 0)
    state = scene.until(lambda state: state.stage == 1, first)
    assert state.verdicts["fast"].verdict.verdict is Verdict.CONTINUE
    assert scene.led("a")

    standby = scene.controller("b")
    scene.traffic(1, 40)
    folded = 0
    while folded < 40 * 160:
        first.step()
        standby.step()
        folded = sum(h.records for h in scene.told["b"] if isinstance(h, BatchCommitted))
    assert not scene.led("b")
    # Its file is as of the last commit; only this controller folds the records since then again.
    first.close()
    scene.traffic(8, 80)
    state = scene.until(lambda state: state.phase is Phase.ROLLED_BACK, standby)
    assert scene.led("b")
    # A process that returns afterwards reads to the end and does nothing.
    again = scene.controller("a")
    before = state.sequence
    for _ in range(20):
        again.step()
        standby.step()
    again.close()
    standby.close()
    assert scene.log.refresh().sequence == before

    entries = scene.log.log.entries
    assert [entry.refused for entry in entries if entry.refused] == []
    kinds = [entry.command.kind for entry in entries if entry.command]
    assert [kind for kind in kinds if kind != CommandKind.VERDICT] == ["plan", "step", "rollback"]
    assert {entry.signer.name for entry in entries[1:] if entry.signer} == {"controller"}
    moved = [h for told in scene.told.values() for h in told if isinstance(h, RolloutMoved)]
    assert [each.kind for each in moved] == ["step", "rollback"]
    scene.log.close()


@pytest.mark.thorough
def test_a_takeover_reads_to_the_end_before_it_acts(scene: Scene) -> None:
    """After half of the decisions a step would be due; after all of them a rollback is."""
    scene.start()
    scene.traffic(1, 0)
    scene.traffic(8, 40)
    loop = scene.controller("late", maximum_batch=100)
    began = time.monotonic()
    state = scene.until(lambda state: state.phase is Phase.ROLLED_BACK, loop)
    # It had enough time to act earlier.
    assert time.monotonic() - began > 2
    loop.close()
    kinds = [entry.command.kind for entry in scene.log.log.entries if entry.command]
    assert "step" not in kinds
    assert state.verdicts["fast"].verdict.verdict is Verdict.ROLL_BACK
    scene.log.close()


@pytest.mark.thorough
def test_a_controller_with_another_key_writes_nothing(scene: Scene) -> None:
    scene.start(controller={"key": public(Ed25519PrivateKey.generate())})
    scene.traffic(1, 0)
    loop = scene.controller("a")
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not any(isinstance(each, RolloutHeld) for each in scene.told["a"]):
        assert time.monotonic() < deadline
        loop.step()
    (held, *_) = [each for each in scene.told["a"] if isinstance(each, RolloutHeld)]
    assert held.kind == "verdict"
    assert "and controller.key is another" in held.refusal
    assert scene.log.refresh().sequence == 1
    with pytest.raises(StateError, match="another process has the file"):
        scene.controller("a")
    loop.close()
    scene.log.close()


@pytest.mark.thorough
def test_a_killed_controller_resumes_and_exits_gracefully(scene: Scene, tmp_path: Path) -> None:
    scene.start()
    variables = {
        "STREAM_SCORER_ROLLOUT__OPERATOR_KEYS": json.dumps({"ann": public(OPERATOR)}),
        "STREAM_SCORER_ROLLOUT__REQUIRE_SIGNATURE": "true",
        "STREAM_SCORER_CONTROLLER__GROUP": f"{scene.kafka.group}-controller",
        "STREAM_SCORER_CONTROLLER__STATE": str(tmp_path / "process.sqlite"),
        "STREAM_SCORER_CONTROLLER__KEY": str(tmp_path / "key.pem"),
        "STREAM_SCORER_AUDIT__PATH": str(tmp_path / "audit.log"),
    }

    def process() -> ScorerProcess:
        return ScorerProcess(
            scene.kafka, tmp_path / "said", variables=variables, command="controller"
        )

    scene.traffic(1, 0)
    with process() as killed:
        wait_until(lambda: scene.log.refresh().stage == 1, lambda: f"a step: {killed.said}")
        killed.kill()
    scene.traffic(8, 40)
    with process() as again:
        wait_until(
            lambda: scene.log.refresh().phase is Phase.ROLLED_BACK,
            lambda: f"a rollback: {again.said}",
        )
        again.wait_ready()
        # It reports a command after it has written it.
        wait_until(
            lambda: again.metric("stream_scorer_rollout_moves_total", **ROLLED_BACK) == 1,
            lambda: f"the rollback is reported: {again.said}",
        )
        again.send(signal.SIGTERM)
        assert again.wait() == 0
    told = [entry.command.kind for entry in scene.log.log.entries if entry.command]
    assert [kind for kind in told if kind != CommandKind.VERDICT] == ["plan", "step", "rollback"]
    lines = (tmp_path / "audit.log").read_text().splitlines()
    actions = [json.loads(line)["action"] for line in lines]
    assert actions == [f"rollout.{kind}" for kind in told[1:]]
    scene.log.close()


def test_a_file_ahead_of_its_topics_is_refused_and_released(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    with LabelJoin(file, "nothing is judged", 0, 0, 1_000) as joining:
        joining.commit({(scene.kafka.topics.decisions, 1): 5})
    for _ in range(2):
        with pytest.raises(
            OffsetsError,
            match=r"decisions partition 1: the noted offset 5 is outside the retained 0 to 0 — "
            "remove the file that notes it",
        ):
            scene.controller("a")
    scene.log.close()


def test_a_token_is_a_topic_of_one_partition(scene: Scene) -> None:
    topic = scene.kafka.topics.decisions
    with pytest.raises(SettingsError, match=r"decisions: has 2 partitions, not one"):
        Leadership(scene.kafka, topic, lambda _: None)
    scene.log.close()
