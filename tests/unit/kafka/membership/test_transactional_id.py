"""No two names share a transactional id, and a process of the previous version is fenced."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.membership.transactional_id import (
    Identity,
    command,
    fence_former,
    instance,
)
from stream_scorer.settings import Kafka
from tests.support.kafka.fake_cluster import failure

GROUPS = st.text("ab-:@/.0", min_size=1, max_size=6)
INSTANCES = st.from_regex(r"[ab0._-]{1,5}", fullmatch=True)
WORKERS = st.none() | st.integers(0, 20)
KAFKA = Kafka(bootstrap="b:1", group="g", instance="i")
MISSING_RIGHT = failure(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
BUSY = failure(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, retriable=True)
BROKEN = failure(KafkaError.INVALID_TRANSACTION_TIMEOUT)


def named(name: str, worker: int | None) -> str:
    kafka = Kafka(bootstrap="b:1", instance=name)
    return (kafka if worker is None else kafka.worker(worker)).instance


@given(GROUPS, INSTANCES, WORKERS, GROUPS, INSTANCES, WORKERS)
def test_two_names_never_share_a_transactional_id(
    group: str, name: str, worker: int | None, group2: str, name2: str, worker2: int | None
) -> None:
    one, other = instance(group, named(name, worker)), instance(group2, named(name2, worker2))
    assert (one.current == other.current) == ((group, name, worker) == (group2, name2, worker2))


@given(GROUPS, INSTANCES, WORKERS, GROUPS, INSTANCES)
def test_no_instance_has_the_id_of_a_command(
    group: str, name: str, worker: int | None, group2: str, name2: str
) -> None:
    assert instance(group, named(name, worker)).current != command(group2, name2).current


def test_the_former_ids_are_those_of_the_version_before() -> None:
    assert instance("g", "i").former == "g-i"
    assert instance("g", named("i", 3)).former == "g-i.3"
    assert command("g", "state-command").former == "g-state-command"


class Client:
    """A producer whose birth has a scripted result."""

    def __init__(self, raises: list[KafkaException]) -> None:
        self.births = 0
        self.closed = False
        self.options: dict[str, Any] = {}
        self._raises = raises

    def made(self, options: dict[str, Any]) -> "Client":
        self.options = options
        return self

    def init_transactions(self, _: float) -> None:
        self.births += 1
        if self._raises:
            raise self._raises.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("raises", "births"), [([], 1), ([BUSY, BUSY], 3), ([MISSING_RIGHT], 1)])
def test_the_former_id_is_fenced_where_it_may_be_used(
    raises: list[KafkaException], births: int
) -> None:
    client = Client(list(raises))
    fence_former(KAFKA, instance("g", "i"), client.made)
    assert (client.births, client.closed) == (births, True)
    assert client.options["transactional.id"] == "g-i"


def test_what_cannot_be_fenced_stops_the_start() -> None:
    client = Client([BROKEN])
    with pytest.raises(UnavailableError, match="g-i of the version before cannot be fenced"):
        fence_former(KAFKA, instance("g", "i"), client.made)
    assert client.closed


def test_a_silent_broker_is_waited_for_only_so_long() -> None:
    times = iter([0.0, 1.0, 59.0, 61.0])
    client = Client([BUSY] * 9)
    with pytest.raises(UnavailableError):
        fence_former(KAFKA, instance("g", "i"), client.made, lambda: next(times))
    assert client.births == 3


@pytest.mark.parametrize(
    ("identity", "other"),
    [
        (instance("a:b", "c"), instance("a", "b-c")),
        (command("a:b", "state-command"), instance("a", "b-state-command")),
    ],
)
def test_a_start_fences_no_other_process_of_this_version(
    identity: Identity, other: Identity
) -> None:
    assert identity.former == other.current
    client = Client([])
    fence_former(KAFKA, identity, client.made)
    assert client.births == 0
