"""An abort injected at every step leaves output, offsets and state as an undisturbed run does."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_scorer.apps.scorer import Deployment
from stream_scorer.errors import TransactionError
from stream_scorer.happenings import BatchAborted
from stream_scorer.kafka.offsets import admin
from stream_scorer.kafka.producer import TransactionAborted
from stream_scorer.settings import Kafka
from tests.faults.scene import Outcome, everything_once, feed, outcome, same, scored, transactions

pytestmark = pytest.mark.kafka

Scene = Callable[..., tuple[Kafka, dict[int, int]]]

COMPUTED = ("poll", "decode", "validate", "features", "score", "decide", "encode", "summarize")
SENT = ("begin", "send", "offsets")


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
        stages: Which stages.
        error: Makes what is raised.
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
    ("stages", "error"), [(COMPUTED + SENT, lost_network), (SENT * 3, abortable)]
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


def test_what_the_broker_always_refuses_ends_in_one_error_and_loses_nothing(
    scene: Scene, undisturbed: Outcome
) -> None:
    kafka, ends = scene()
    # Room for a transaction's marker, not for a dead letter.
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
    """Set the largest record batch that a topic takes."""
    entry = ConfigEntry(
        "max.message.bytes",
        str(maximum),
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = admin(kafka)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
