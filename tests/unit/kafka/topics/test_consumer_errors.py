"""What ends a reader names the commands that let it go on."""

from confluent_kafka import KafkaError

from stream_scorer.errors import OffsetsError
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.kafka.topics.consumer_errors import Reading


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
