"""Whether a group can be joined: under KIP-848, not while it has classic members.

The broker could convert the classic group to the new kind together with its members. It does not
if an assignment contains an assignor's own data, as that of librdkafka's cooperative-sticky does.
A new member then gets GROUP_ID_NOT_FOUND, which is fatal to its client. So it checks first, and
waits until the last classic member has left.
"""

import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import ConsumerGroupDescription

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.kafka.topics.offsets import ANSWER_SECONDS
from stream_scorer.settings import Kafka

_ASK_SECONDS = 1.0

Describe = Callable[[str], ConsumerGroupDescription | None]
"""Returns the broker's description of a group; raises UnavailableError."""


class GroupEntry:
    """Checks a group before it is joined, at most once a second.

    Args:
        kafka: The cluster.
        group: The group.
        describe: Queries the broker.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        describe: Describe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._describe = describe or partial(Groups(kafka).described, seconds=ANSWER_SECONDS)
        self._group = group
        self._clock = clock
        self._due = float("-inf")
        self._hindrance = ""

    def hindrance(self) -> str:
        """Return why the group cannot be joined yet; empty when it can."""
        now = self._clock()
        if now >= self._due:
            self._due = now + _ASK_SECONDS
            self._hindrance = self._ask()
        return self._hindrance

    def _ask(self) -> str:
        try:
            found = self._describe(self._group)
        except UnavailableError as error:
            return str(error)
        if found is None or found.type == ConsumerGroupType.CONSUMER or not found.members:
            return ""
        names = ", ".join(sorted(member.client_id for member in found.members))
        return (
            f"group {self._group} has members of the classic protocol ({names}), which this one "
            "cannot join: it waits until they have left"
        )
