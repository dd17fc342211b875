"""``retrain run`` on a real broker: a guard holds it back, then it proposes a new version."""

import base64
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.writing.encode import Constant
from stream_scorer.devkafka.child import as_environment
from stream_scorer.kafka.topics import client_options
from stream_scorer.models.bundles.bundle import CARD, GATE, read_manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.retraining.run.contract import Run
from stream_scorer.retraining.run.state_files import RunStore
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.judging_rules import ControllerRules, Rules
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.security.keys import generate, read_private
from stream_scorer.settings import Kafka, Rollout, Settings
from tests.support.drift.documents import alarm
from tests.support.drift.event_records import record_of
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.models.noise_bundles import write
from tests.support.performance.published import EVENT, WINDOW
from tests.support.retraining.night_city import (
    DAY,
    DAYS,
    FEATURES,
    FIRST,
    ROWS,
    city,
    decisions,
    fraud_labels,
)
from tests.support.rollout.grants import STEADY

pytestmark = pytest.mark.kafka

RULES = """
trials = 2
cost_of_retraining = 400.0
horizon_days = 100
[guards]
least_frauds = 50
[space]
max_leaf_nodes = [7, 15]
"""
OPERATOR, CONTROLLER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
_HOUR_MS = 3_600_000


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


class Scene:
    """A champion that decides a city's transactions, and a trainer that has a grant."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.store = folder / "models"
        write(self.store, "0.1.0", FEATURES)
        (self.store / "fraud" / "plan.toml").touch()
        generate(folder / "trainer.key")
        (folder / "retrain.toml").write_text(RULES)
        rollout = Rollout(operator_keys={"ann": public(OPERATOR)}, require_signature=True)
        self.log = ControlLog(Settings(kafka=kafka, rollout=rollout))
        self._begin()

    def _begin(self) -> None:
        manifest = read_manifest(self.store / "fraud" / "0.1.0")
        expires = time.time_ns() // 1_000_000 + _HOUR_MS
        grant = RetrainGrant(
            key=public(read_private(self.folder / "trainer.key")), model="fraud",
            feature_sets=(manifest.feature_set,), share=50.0, expires_at=expires,
            guard=Rules(),
            controller=ControllerRules(key=public(CONTROLLER), may=("step", "rollback")),
        )  # fmt: skip
        for kind, body in ((CommandKind.PLAN, plan_of(STEADY)), (CommandKind.GRANT, grant)):
            assert self.log.append(kind, body, OPERATOR).refused == ""

    def publish(self, records: Mapping[str, list[bytes]]) -> None:
        """Write values to topics."""
        producer = Producer(client_options.common(self.kafka))
        for topic, values in records.items():
            for value in values:
                producer.produce(topic, value)
        assert producer.flush(30) == 0

    def process(self) -> ScorerProcess:
        """Start the trainer."""
        variables = as_environment({
            "models": {"directory": self.store},
            "rollout": {"operator_keys": json.dumps({"ann": public(OPERATOR)}),
                        "require_signature": "true"},
            "retrain": {"group": f"{self.kafka.group}-retrain", "key": self.folder / "trainer.key",
                        "directory": self.folder / "retrain"},
            "audit": {"path": self.folder / "audit.log"},
            "logging": {"journal": self.folder / "journal.jsonl"},
        })  # fmt: skip
        rules = str(self.folder / "retrain.toml")
        return ScorerProcess(
            self.kafka, self.folder / "said", "run", "--rules", rules, variables=variables,
            command="retrain",
        )  # fmt: skip

    def run(self) -> Run | None:
        """Return the retraining that is under way."""
        return RunStore(self.folder / "retrain").look()

    def steps(self) -> list[str]:
        """Return the steps that the trainer has reported."""
        return [line["step"] for line in self.lines("said") if line["event"] == "retrain_stepped"]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON lines of a file, without one that is being written."""
        complete, _, _ = (self.folder / name).read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]


def matured_days() -> list[bytes]:
    """Return what performance publishes of the city's days."""
    event_time, _, _, fraud = city()
    return [
        WINDOW.encode({
            "kind": "DAY", "model": "fraud", "model_version": "0.1.0", "arm": "champion",
            "segment": "all", "start": day * DAY, "end": (day + 1) * DAY, "rows": ROWS,
            "frauds": int(fraud[event_time // DAY == day].sum()),
        })
        for day in range(FIRST, FIRST + DAYS)
    ]  # fmt: skip


@pytest.fixture
def scene(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> Iterator[Scene]:
    made = Scene(kafka_topics(kafka_settings(), 1), tmp_path)
    with closing(made.log):
        yield made


def test_an_alarm_and_matured_days_lead_to_a_proposal(scene: Scene) -> None:
    topics = scene.kafka.topics
    risen = record_of(alarm(), kind="performance", model_version="0.1.0", onset=FIRST * DAY)
    decided = decisions(["AMOUNT", "HOUR"], model_version=Constant("0.1.0"))
    scene.publish({
        topics.decisions: decided.values.to_list(),
        topics.labels: fraud_labels().values.to_list(),
        topics.drift_events: [EVENT.encode(risen)],
    })  # fmt: skip
    with scene.process() as trainer:
        # The loss has risen, but no day has matured yet.
        trainer.wait_ready()
        wait_until(
            lambda: trainer.metric("stream_scorer_retrain_held") == 2,
            lambda: f"held back: {trainer.said}",
        )
        assert scene.run() is None
        scene.publish({topics.performance: matured_days()})
        state = proposed(scene, trainer)
        assert trainer.metric("stream_scorer_retrain_run") == 1
        assert trainer.metric("stream_scorer_retrain_held") == 0
        trainer.send(signal.SIGTERM)
        assert trainer.wait() == 0, trainer.said
    bundle = scene.store / "fraud" / "0.2.0"
    found = load_bundle(bundle, Trust(required=True).with_granted(state.trained)).manifest
    assert found.lineage_parent is not None
    assert found.lineage_parent.label == "fraud:0.1.0"
    gate = json.loads((bundle / GATE).read_text())
    assert (gate["passed"], gate["rows"]) == (True, int((city()[0] >= (FIRST + 4) * DAY).sum()))
    assert "has no transaction of these days" in (bundle / CARD).read_text()
    left = scene.run()
    assert left is not None
    assert (left.step, left.trigger, len(left.trials)) == ("proposed", "loss", 2)
    assert not (scene.folder / "retrain" / "history.jsonl").exists()
    assert scene.steps() == [
        "triggered", "dataset", "search", "fit", "gate", "bundle", "proposed",
    ]  # fmt: skip
    assert [line["action"] for line in scene.lines("audit.log")] == ["rollout.plan"]
    (ended,) = [line for line in scene.lines("journal.jsonl") if line["event"] == "left"]
    assert ended["exit_code"] == 0


def proposed(scene: Scene, trainer: ScorerProcess) -> RolloutState:
    """Wait until the trainer has proposed a version; return the state of the control log."""

    def done() -> bool:
        assert trainer.alive, trainer.said
        return "proposed" in scene.steps()

    wait_until(done, lambda: f"proposed: {scene.run()} {trainer.said}")
    state = scene.log.refresh()
    assert state.plan is not None
    assert state.plan.provenance is not None
    assert list(state.trained) == ["fraud:0.2.0"]
    return state
