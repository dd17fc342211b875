"""What a consumer's errors mean to its user: which to wait out, and which end the process."""

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import (
    FencedError,
    OffsetsError,
    SettingsError,
    StreamScorerError,
    TransactionError,
    UnavailableError,
)
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.missing_input import past_the_gap

_GONE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 the binding's own name
    }
)
_REFUSED = frozenset({KafkaError.INCONSISTENT_GROUP_PROTOCOL, KafkaError.GROUP_MAX_SIZE_REACHED})


def cannot_inflate(error: KafkaError) -> bool:
    """Return whether an error event reports a record batch too large to decompress.

    Waiting does not help: every fetch inside the batch gets it again; see
    ``kafka/reading/unreadable_batches.py``. The event's offset is the first of the batch.
    """
    return bool(error.code() == KafkaError._BAD_COMPRESSION)  # noqa: SLF001 the binding's own name


def refuse_unreadable(topic: str, failure: ConsumerError) -> None:
    """Check an error event of a reader without a group; most of them resolve themselves.

    Args:
        topic: The topic.
        failure: The event.

    Raises:
        UnavailableError: The topic is gone or may not be read, or the client cannot continue.
    """
    if failure.error.code() in _GONE or failure.error.fatal():
        raise UnavailableError(
            f"topic {topic} cannot be read: {failure.error.str()}",
            "check the topic and the right to read it",
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """A consumer's topic, group and name.

    Attributes:
        topic: The input topic.
        group: The consumer group.
        member: Its name in the group.
    """

    topic: str
    group: str
    member: str

    def judge(self, failure: ConsumerError) -> StreamScorerError | None:
        """Return what an error event means; None if waiting resolves it."""
        error = failure.error
        code = error.code()
        if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 the binding's own name
            return OffsetsError(
                f"group {self.group}: {self.topic} partition {failure.partition}: "
                f"the committed offset is outside the retained input ({error.str()})",
                past_the_gap(self.group, self.topic, failure.partition),
            )
        if code in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
            return UnavailableError(
                f"topic {self.topic} does not exist",
                "create it, for example with `stream-scorer topics create`",
            )
        if code in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}:
            return self._forbidden(error)
        return self.ended(error) if error.fatal() else None

    def _forbidden(self, cause: KafkaError) -> UnavailableError:
        return UnavailableError(
            f"group {self.group} may not read {self.topic}: {cause.str()}", "grant the ACLs"
        )

    def refused(self, failure: ConsumerError) -> str:
        """Return why the group does not accept this member now; empty for any other failure.

        The client retries, and the group accepts it once others have left.
        """
        if failure.error.code() not in _REFUSED:
            return ""
        return f"group {self.group} does not take member {self.member}: {failure.error.str()}"

    def refuse_missing(self, count: Callable[[float], int], seconds: float) -> None:
        """Check that the topic exists: under KIP-848 a member waits for it silently.

        Args:
            count: Queries the broker for its number of partitions.
            seconds: Time limit.

        Raises:
            UnavailableError: It does not exist, may not be read, or the broker does not answer.
        """
        try:
            count(seconds)
        except KafkaException as error:
            cause = error.args[0]
            raise self.judge(ConsumerError(-1, -1, cause)) or UnavailableError(
                f"the partitions of {self.topic} cannot be read: {cause.str()}",
                "check the brokers",
            ) from error

    def ended(self, cause: KafkaError) -> StreamScorerError:
        """Return what a fatal error of the client means."""
        code = cause.code()
        if code == KafkaError.FENCED_INSTANCE_ID:
            return FencedError(
                f"member {self.member} of group {self.group} was taken over by another process "
                f"({cause.str()})",
                "give each instance its own kafka.instance; do not restart this one next to the "
                "other",
            )
        if code == KafkaError.UNRELEASED_INSTANCE_ID:
            return UnavailableError(
                f"group {self.group} still holds member {self.member} of an earlier process",
                "start again when its session has ended (group.consumer.session.timeout.ms)",
            )
        if code == KafkaError.GROUP_ID_NOT_FOUND:
            return UnavailableError(
                f"group {self.group} was not joined: members of the classic protocol came into it "
                f"meanwhile ({cause.str()})",
                "start again; it then waits until they have left",
            )
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return self._forbidden(cause)
        if code == KafkaError.UNSUPPORTED_VERSION:
            return SettingsError(
                f"setting kafka.group_protocol: the brokers do not serve it ({cause.str()})",
                'set it to "classic", or upgrade them to Kafka 4',
            )
        return TransactionError(f"the consumer cannot continue: {cause.str()}", "see the brokers")
