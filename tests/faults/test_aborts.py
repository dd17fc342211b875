"""An abort injected at every step leaves output, offsets and state as an undisturbed run does."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.happenings import BatchAborted
from stream_scorer.kafka.producer import TransactionAborted
from stream_scorer.settings import Kafka
from tests.faults.scene import Outcome, everything_once, feed, same, scored, transactions

pytestmark = pytest.mark.kafka

Scene = Callable[..., tuple[Kafka, dict[int, int]]]

COMPUTED = ("poll", "decode", "validate", "features", "score", "decide", "encode", "summarize")
SENT = ("begin", "send", "offsets")
MIDDLE = 4


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


class Once:
    """Raises once, when a stage is over for the n-th time.

    Args:
        stage: Which stage.
        error: What is raised.
        at: The n-th time.
    """

    def __init__(self, stage: str, error: Exception, at: int = MIDDLE) -> None:
        self._stage = stage
        self._error = error
        self._left = at
        self.raised = False

    def __call__(self, stage: str) -> None:
        if stage == self._stage:
            self._left -= 1
            if self._left == 0:
                self.raised = True
                raise self._error


def abortable() -> KafkaException:
    error = KafkaError(
        KafkaError.TRANSACTION_COORDINATOR_FENCED, "injected", txn_requires_abort=True
    )
    return KafkaException(error)


@pytest.mark.parametrize("stage", COMPUTED + SENT)
def test_an_abort_after_a_step_leaves_no_trace(
    scene: Scene, undisturbed: Outcome, stage: str
) -> None:
    hook = Once(stage, TransactionAborted("injected", network=True))
    found, heard = scored(*scene(), hook=hook)
    assert hook.raised
    assert [abort.cause for abort in heard.of(BatchAborted)] == ["injected"]
    same(found, undisturbed)


@pytest.mark.parametrize("stage", SENT)
def test_an_error_that_requires_an_abort_leaves_no_trace(
    scene: Scene, undisturbed: Outcome, stage: str
) -> None:
    hook = Once(stage, abortable())
    found, heard = scored(*scene(), hook=hook)
    assert hook.raised
    assert len(heard.of(BatchAborted)) == 1
    same(found, undisturbed)
