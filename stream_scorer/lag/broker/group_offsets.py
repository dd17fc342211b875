"""Members and committed offsets of many groups: one request a group for each."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from stream_scorer.closing import Closing
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import admin, unreachable
from stream_scorer.lag.broker.group_names import is_pattern, limited, matching
from stream_scorer.lag.broker.looks import GroupLook, Place
from stream_scorer.settings import Kafka

_NEVER_SECONDS = 3_600.0
"""An admin request's own time limit, which must not pass: see ADR 16."""
_DISCOVERY_SECONDS = 60.0
"""How often all partitions of the cluster are asked for a group's offsets."""
_NO_TIME = "its committed offsets were not read: other groups took the time of this look"
_SILENT = "its coordinator does not answer"
_GONE = GroupLook()
"""No coordinator knows the group."""
_CLIENT_MOST = 100
"""Characters of a client id that are shown: Kafka takes 32,767, and each owned partition has it."""

_NAME_MOST = 200
"""Characters of a name that only a pattern matches: Kafka takes 32,767, and each series has it."""


class GroupOffsets(Closing):
    """Reads many groups repeatedly.

    A group's offsets are read by a consumer with its name, which is kept and never joins: the admin
    client's request for them ends the process when brokers go down (librdkafka#5040). In most looks
    only the partitions are asked for in which the group committed before or that it owns; once a
    minute all of the cluster are, and topics in which it neither has an offset nor owned a
    partition since the minute before are forgotten.

    Args:
        kafka: The cluster.
        patterns: Names of groups, with ``*`` and ``?``.
        seconds: How long a request may take.
        most: Groups that are watched, each with a connection of its own. Those that are named
            without a pattern are among them.

    Attributes:
        left_out: Groups that match a pattern and are too many, or have names that are too long.
    """

    def __init__(
        self, kafka: Kafka, patterns: Sequence[str], seconds: float = 2.5, most: int = 200
    ) -> None:
        self._kafka = kafka
        self._patterns = patterns
        self._seconds = seconds
        self._most = most
        self.left_out = 0
        self._admin = admin(kafka)
        self._consumers: dict[str, Any] = {}
        self._known: dict[str, set[Place]] = {}
        self._owned: dict[str, set[str]] = {}
        self._discovered: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._unlisted: set[str] = set()

    def close(self) -> None:
        """Close the connections."""
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    def names(self) -> list[str]:
        """Return the groups of the cluster that match, and those that are named without a pattern.

        A group whose coordinator moves or is down is listed by no broker. So one that is watched
        stays until :meth:`members` finds that it is gone.

        Raises:
            UnavailableError: No broker answers.
        """
        exact = {each for each in self._patterns if not is_pattern(each)}
        if exact == set(self._patterns):
            return sorted(exact)
        listed = self._answer(
            self._admin.list_consumer_groups(request_timeout=_NEVER_SECONDS)
        ).valid
        found = matching((each.group_id for each in listed), self._patterns) - exact
        self._unlisted = self._consumers.keys() - found - exact
        found |= self._unlisted
        short = (name for name in found if len(name) <= _NAME_MOST)
        kept = limited(short, self._consumers.keys(), self._most - len(exact))
        self.left_out = len(found) - len(kept)
        self._forget(self._consumers.keys() - kept - exact)
        return sorted(kept | exact)

    def members(self, groups: Sequence[str]) -> dict[str, GroupLook]:
        """Return the members and owners of each group, without offsets.

        A group that no broker lists any more, and that its coordinator does not know, is left out.

        A coordinator that does not answer is an error of the look: its offsets would not come
        either.
        """
        # One request for each: all groups of a request have their answers when the last one has.
        asked = {
            group: self._admin.describe_consumer_groups([group], request_timeout=_NEVER_SECONDS)[
                group
            ]
            for group in groups
        }
        wait(asked.values(), self._seconds)
        found: dict[str, GroupLook] = {}
        silent = False
        for group, future in asked.items():
            if not future.done():
                silent = True
                found[group] = GroupLook(error=_SILENT)
                continue
            try:
                found[group] = _members(future.result())
            except KafkaException as error:
                found[group] = _without(error)
                silent = silent or bool(found[group].doubt)
            if found[group] is _GONE and group in self._unlisted:
                del found[group]
                self._forget([group])
        if silent:
            # An admin client keeps asking a coordinator that it once knew.
            self._admin = admin(self._kafka)
        return found

    def in_turn(self, groups: Iterable[str]) -> list[str]:
        """Return groups in the order in which to ask: the one that was asked longest ago first."""
        return sorted(groups, key=lambda group: self._asked.get(group, float("-inf")))

    def places(
        self,
        group: str,
        every: Iterable[Place],
        owned: Iterable[Place],
        until: float = float("inf"),
    ) -> set[Place]:
        """Return the partitions in which a group may have committed.

        Args:
            group: Its name.
            every: All partitions of the cluster.
            owned: Those of topics that its members read.
            until: Time of ``time.monotonic`` at which no request may last any more.
        """
        every, owned = set(every), set(owned)
        known = self._known.get(group, set()) | owned
        topics = self._owned.setdefault(group, set())
        topics |= {topic for topic, _ in owned}
        due = self._discovered.get(group, float("-inf")) + _DISCOVERY_SECONDS
        if time.monotonic() >= due:
            found = self._committed(group, every, until)
            if not isinstance(found, str):
                topics |= {topic for topic, _ in found}
                known = {at for at in known | found.keys() if at[0] in topics}
                del self._owned[group]
                self._discovered[group] = time.monotonic()
        self._known[group] = known & every
        return self._known[group]

    def committed(
        self, group: str, places: Iterable[Place], until: float = float("inf")
    ) -> dict[Place, int] | str:
        """Return the committed offsets of a group's partitions, or why they are missing.

        Args:
            group: Its name.
            places: The partitions.
            until: As for :meth:`places`.
        """
        wanted = set(places)
        return self._committed(group, wanted, until) if wanted else {}

    def _committed(
        self, group: str, places: Iterable[Place], until: float
    ) -> dict[Place, int] | str:
        now = time.monotonic()
        if now >= until:
            return _NO_TIME
        self._asked[group] = now
        consumer = self._consumers.get(group)
        if consumer is None:
            # All committed offsets, not only stable ones: those are refused while a transaction of
            # the group is open, which is nearly always under load.
            options = client_options.reader(self._kafka, group)
            consumer = Consumer(options | {"isolation.level": "read_uncommitted"})
            self._consumers[group] = consumer
        wanted = [TopicPartition(*at) for at in places]
        seconds = min(self._seconds, until - now)
        try:
            answers = consumer.committed(wanted, timeout=seconds) if wanted else []
        except KafkaException as error:
            return f"its committed offsets cannot be read: {error.args[0].str()}"
        errors = [each.error.str() for each in answers if each.error is not None]
        if errors:
            return f"its committed offsets cannot be read: {errors[0]}"
        return {(each.topic, each.partition): each.offset for each in answers if each.offset >= 0}

    def _answer(self, future: Any) -> Any:
        wait([future], self._seconds)
        if not future.done():
            self._admin = admin(self._kafka)
            raise unreachable(self._kafka, f"no answer within {self._seconds:.1f} s")
        try:
            return future.result()
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error

    def _forget(self, groups: Iterable[str]) -> None:
        """Close the connections of groups that are gone."""
        for group in list(groups):
            self._consumers.pop(group).close()
            self._known.pop(group, None)
            self._owned.pop(group, None)
            self._discovered.pop(group, None)
            self._asked.pop(group, None)


def _members(described: Any) -> GroupLook:
    if described.state is ConsumerGroupState.DEAD:
        return _GONE
    owners = {
        (at.topic, at.partition): f"{member.client_id[:_CLIENT_MOST]} at {member.host}"
        for member in described.members
        if member.assignment
        for at in member.assignment.topic_partitions
    }
    # "Simple" means without a protocol for members. A group keeps its protocol when they leave.
    memberless = described.is_simple_consumer_group and described.state is ConsumerGroupState.EMPTY
    return GroupLook(len(described.members), owners, memberless=memberless)


def _without(error: KafkaException) -> GroupLook:
    """Return the look at a group that was not described: it is not there, or it is not known."""
    cause = error.args[0]
    if cause.code() == KafkaError.GROUP_ID_NOT_FOUND:
        return _GONE
    return GroupLook(doubt=f"its members cannot be read: {cause.str()}")


def with_committed(
    look: GroupLook, places: Iterable[Place], offsets: Mapping[Place, int] | str
) -> GroupLook:
    """Return a group's look with its partitions and committed offsets, or with the error."""
    if isinstance(offsets, str):
        return replace(look, places=frozenset(places), error=offsets)
    return replace(look, places=frozenset(places), committed=offsets)
