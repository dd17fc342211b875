"""After an abort at any step, output, offsets and state equal those of an undisturbed run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_scorer.errors import TransactionError
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import TransactionAborted
from stream_scorer.settings import Kafka, Models
from stream_scorer.telemetry import BatchAborted
from tests.support.faults.reference_run import (
    Outcome,
    everything_once,
    feed,
    outcome,
    same,
    scored,
    transactions,
)
from tests.support.models.noise_bundles import write

pytestmark = pytest.mark.kafka

Scene = Callable[..., tuple[Kafka, dict[int, int]]]

COMPUTED = (
    "poll", "decode", "checkpoint", "validate", "features", "score", "decide", "encode",
    "summarize", "wait",
)  # fmt: skip
SENT = ("begin", "offsets", "send")

AT_TERMINAL = {"key": "terminal_id", "window": "7d", "delay": "7d"}
RICH = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "TERMINALS", "kind": "distinct", "field": "terminal_id", "window": "7d"},
    {"name": "HERE", "kind": "count", "window": "30d", "key": ["customer_id", "terminal_id"]},
    {"name": "TERMINAL_COUNT", "kind": "count", **AT_TERMINAL},
)
"""Features by a stored field and by terminal."""


@pytest.fixture(scope="module")
def scene(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Scene:
    def make(**overrides: Any) -> tuple[Kafka, dict[int, int]]:
        kafka = kafka_topics(kafka_settings(**overrides))
        return kafka, feed(kafka, transactions())

    return make


@pytest.fixture(scope="module")
def undisturbed(scene: Scene) -> Outcome:
    found, _ = scored(*scene())
    everything_once(found, transactions())
    return found


class EachOnce:
    """Raises once after each of the given stages, in turn, with commits in between.

    Args:
        stages: The stages.
        error: Makes the exception.
    """

    def __init__(self, stages: tuple[str, ...], error: Callable[[], Exception]) -> None:
        self.left = list(stages)
        self._error = error
        self._committed = False

    def __call__(self, stage: str) -> None:
        if stage == "commit":
            self._committed = True
        elif self.left and stage == self.left[0] and self._committed:
            self._committed = False
            del self.left[0]
            raise self._error()


def lost_network() -> Exception:
    return TransactionAborted("injected", network=True)


def abortable() -> Exception:
    return KafkaException(
        KafkaError(KafkaError.INVALID_TXN_STATE, "injected", txn_requires_abort=True)
    )


@pytest.mark.parametrize(
    ("stages", "error"),
    [
        (COMPUTED + SENT, lost_network),
        pytest.param(SENT * 3, abortable, marks=pytest.mark.thorough),
    ],
)
def test_an_abort_after_any_step_leaves_no_trace(
    scene: Scene, undisturbed: Outcome, stages: tuple[str, ...], error: Callable[[], Exception]
) -> None:
    hook = EachOnce(stages, error)
    found, heard = scored(*scene(), hook=hook, batch=100)
    assert hook.left == []
    assert len(heard.of(BatchAborted)) == len(stages)
    assert {abort.cause for abort in heard.of(BatchAborted)} == {"injected"}
    same(found, undisturbed)
    assert found.dumps == undisturbed.dumps


@pytest.mark.thorough
def test_an_abort_with_fields_and_terminals_leaves_no_trace(scene: Scene, tmp_path: Path) -> None:
    write(tmp_path, "1.0.0", RICH)
    plan = tmp_path / "plan.toml"
    # No profiler publishes rows here: the first batch waits for them, and the others do not.
    plan.write_text("terminal_wait_ms = 1\n[currencies]\nEUR = 2\n")
    deployment = Deployment("fraud:1.0.0", plan, "earliest")
    models = Models(directory=tmp_path)
    stages = (*COMPUTED[:2], "terminals", *COMPUTED[2:], *SENT)

    calm, heard = scored(*scene(), deployment=deployment, models=models)
    assert heard.of(BatchAborted) == []
    hook = EachOnce(stages, lost_network)
    found, heard = scored(*scene(), hook=hook, batch=100, deployment=deployment, models=models)
    assert hook.left == []
    assert [abort.cause for abort in heard.of(BatchAborted)] == ["injected"] * len(stages)
    same(found, calm)
    assert found.dumps == calm.dumps
    assert any(b"terminal_id" in each for each in found.dumps[0])


def test_a_permanent_refusal_ends_with_one_error_and_no_loss(
    scene: Scene, undisturbed: Outcome
) -> None:
    kafka, ends = scene()
    # Large enough for a transaction's marker, but not for a dead letter.
    limit(kafka, kafka.topics.dead_letters, 150)
    with pytest.raises(TransactionError, match=r"5 transactions in a row were aborted: .*[Ll]arge"):
        scored(kafka, ends)
    halted = outcome(kafka)
    assert halted.dead_letters == {}
    assert halted.doubled == []
    assert len(halted.decisions) == sum(halted.offsets.values())

    limit(kafka, kafka.topics.dead_letters, 1_000_000)
    found, _ = scored(kafka, ends, deployment=Deployment("fraud:1.0.0"))
    same(found, undisturbed)


def limit(kafka: Kafka, topic: str, maximum: int) -> None:
    """Set the largest record batch that a topic accepts."""
    entry = ConfigEntry(
        "max.message.bytes",
        str(maximum),
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = admin(kafka)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
