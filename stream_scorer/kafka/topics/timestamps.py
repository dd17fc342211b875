"""Whether a topic keeps the timestamps that a producer gives its records."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.settings import Kafka

_SECONDS = 15.0
_TYPE = "message.timestamp.type"


def keeps_timestamps(kafka: Kafka, topic: str) -> bool:
    """Return whether a topic keeps its producers' timestamps.

    Args:
        kafka: The cluster.
        topic: An existing topic. Without the right to read its configuration, Kafka's default is
            assumed: it keeps them.

    Raises:
        UnavailableError: The broker does not answer.
    """
    asked = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(kafka)  # keeps the client alive until the result is there
    try:
        entries = client.describe_configs([asked], request_timeout=_SECONDS)[asked].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return True
        raise UnavailableError(
            f"the configuration of topic {topic} cannot be read: {error.args[0].str()}",
            "check the brokers",
        ) from error
    kept: bool = entries[_TYPE].value != "LogAppendTime"
    return kept
