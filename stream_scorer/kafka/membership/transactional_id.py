"""Transactional ids that no two processes of different names share.

A broker has one namespace of transactional ids for all groups, and a second producer of an id
fences the first. ``GROUP:INSTANCE`` is unambiguous: an instance name consists of letters, digits,
``.``, ``_`` and ``-``, so the last colon ends the group, whatever its name. A worker is
``INSTANCE/NUMBER``, and a command is ``@NAME``; neither can be an instance's name.

Versions up to 0.1 used ``GROUP-INSTANCE``, ``INSTANCE.NUMBER`` and ``GROUP-NAME``: group ``a-b``
with instance ``c`` and group ``a`` with instance ``b-c`` fenced each other.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka

_INIT_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
_NOT_OURS = frozenset(
    {KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A process's transactional id.

    Attributes:
        current: The id in use.
        former: The id of the same process in earlier versions.

    Example:
        >>> instance("a-b", "c").current, instance("a", "b-c").current, instance("a", "b/0").current
        ('a-b:c', 'a:b-c', 'a:b/0')
        >>> instance("a", "b/0").former, command("a", "state-command").current
        ('a-b.0', 'a:@state-command')
    """

    current: str
    former: str


def instance(group: str, name: str) -> Identity:
    """Return the identity of an instance, or of one of its workers, in a group."""
    return Identity(f"{group}:{name}", f"{group}-{name.replace('/', '.')}")


def command(group: str, name: str) -> Identity:
    """Return the identity of all processes that run the same command for a group."""
    return Identity(f"{group}:@{name}", f"{group}-{name}")


class _Client(Protocol):
    def init_transactions(self, timeout: float, /) -> None: ...
    def close(self) -> Any: ...


def fence_former(
    kafka: Kafka,
    identity: Identity,
    make: Callable[[dict[str, Any]], _Client] = Producer,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """End a process of an earlier version that still runs under the former id.

    Its open transaction is aborted, and its next one is refused. This happens at every start, so it
    also works after a downgrade. A client that may not use the former id cannot have left a process
    under it, so missing rights are not treated as an error.

    Args:
        kafka: The cluster.
        identity: The identity with the former id.
        make: Makes a client from its options.
        clock: Seconds, monotonic.

    Raises:
        UnavailableError: The broker does not answer.
    """
    if ":" in identity.former:
        return
    until = clock() + _PATIENCE_SECONDS
    client = make(client_options.producer(kafka, identity.former))
    try:
        while not _fenced(client, identity, patient=clock() < until):
            pass
    finally:
        with suppress(KafkaException):
            # Another start has fenced it meanwhile.
            client.close()


def _fenced(client: _Client, identity: Identity, *, patient: bool) -> bool:
    """Raise the epoch once; return False if that is to be retried."""
    try:
        client.init_transactions(_INIT_SECONDS)
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if cause.code() in _NOT_OURS:
            return True
        if cause.retriable() and patient:
            return False
        raise UnavailableError(
            f"transactional id {identity.former} of the version before cannot be fenced: "
            f"{cause.str()}",
            "check the brokers, and start again",
        ) from error
    return True
