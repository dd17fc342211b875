"""An error that ends a reader names the commands that fix it."""

import pytest
from confluent_kafka import KafkaError

from stream_scorer.errors import OffsetsError, UnavailableError
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.kafka.topics.consumer_errors import Reading, refuse_unreadable


def test_missing_input_names_the_commands_for_its_partition() -> None:
    cause = KafkaError(KafkaError._AUTO_OFFSET_RESET, "out of range")
    fault = Reading("input", "group", "member").judge(ConsumerError(3, 7, cause))
    assert isinstance(fault, OffsetsError)
    line = str(fault)
    assert "\n" not in line
    assert (
        "kafka-consumer-groups.sh --bootstrap-server HOST:PORT --group group --topic input:3 "
        "--reset-offsets --to-earliest --execute"
    ) in line
    assert line.endswith("stream-scorer state rebuild")


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ],
)  # fmt: skip
def test_a_topic_that_is_gone_or_forbidden_ends_a_reader(code: int) -> None:
    failure = ConsumerError(-1, -1, KafkaError(code, "the broker's words"))
    with pytest.raises(UnavailableError, match="topic input cannot be read: the broker's words"):
        refuse_unreadable("input", failure)


def test_a_reader_waits_for_a_broker_and_ends_with_a_fatal_error() -> None:
    away = KafkaError(KafkaError._TRANSPORT, "down", retriable=True)
    refuse_unreadable("input", ConsumerError(-1, -1, away))
    over = KafkaError(KafkaError._FATAL, "over", fatal=True)
    with pytest.raises(UnavailableError, match="topic input cannot be read: over"):
        refuse_unreadable("input", ConsumerError(-1, -1, over))
