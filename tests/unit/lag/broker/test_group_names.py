"""Which groups are watched, whatever their names and however many they are."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState

from stream_scorer.lag.broker import group_offsets
from stream_scorer.lag.broker.group_names import is_pattern, limited, matching
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.settings import Kafka


def done(result: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(result)
    return future


class ListedGroups:
    """An admin client whose cluster has some groups.

    Args:
        names: Of the groups that are listed; the test changes them.
        exist: Of those that their coordinators know; likewise.
        silent: Of those whose coordinators do not answer; likewise.
        client: The client id of each member.
        simple: Whether the groups have no protocol for members.
        state: Of the groups.
    """

    def __init__(
        self,
        names: list[str],
        client: str = "c",
        *,
        simple: bool = False,
        state: ConsumerGroupState = ConsumerGroupState.STABLE,
    ) -> None:
        self.names = self.exist = names
        self.silent: set[str] = set()
        self._client = client
        self._described = {"is_simple_consumer_group": simple, "state": state}

    def list_consumer_groups(self, **_: Any) -> "Future[Any]":
        return done(SimpleNamespace(valid=[SimpleNamespace(group_id=name) for name in self.names]))

    def describe_consumer_groups(self, names: list[str], **_: Any) -> dict[str, "Future[Any]"]:
        owned = SimpleNamespace(topic_partitions=[SimpleNamespace(topic="t", partition=0)])
        member = SimpleNamespace(client_id=self._client, host="/10.0.0.7", assignment=owned)
        members = [member] if self._described["state"] is ConsumerGroupState.STABLE else []
        found = SimpleNamespace(members=members, **self._described)
        dead = self._described | {"state": ConsumerGroupState.DEAD}
        gone = SimpleNamespace(members=[], **dead)
        if self.silent & set(names):
            return {name: Future() for name in names}
        return {name: done(found if name in self.exist else gone) for name in names}


def groups(
    monkeypatch: pytest.MonkeyPatch, cluster: ListedGroups, patterns: list[str], most: int = 200
) -> GroupOffsets:
    monkeypatch.setattr(group_offsets, "admin", lambda _: cluster)
    return GroupOffsets(Kafka(bootstrap="127.0.0.1:1"), patterns, 0.1, most)


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        ("fraud-1", "fraud-*", True),
        ("fraud", "fraud-*", False),
        ("fraud-1", "FRAUD-*", False),
        ("a\nb", "a?b", True),
        ("a[1]", "a[1]*", True),
        ("a1", "a[1]*", False),
        ("a[", "a[*", True),
        ("b", "[!a]?*", False),
        ("(a|b)+$.^", "(a|b)+$.^*", True),
        ("x" * 32_767, "*", True),
    ],
)
def test_only_stars_and_question_marks_are_special(name: str, pattern: str, matches: bool) -> None:  # noqa: FBT001 a parameter of the test
    assert is_pattern(pattern)
    assert matching([name], [pattern]) == ({name} if matches else set())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["*a" * 300 + "b", "*" * 5_000 + "b", "?*" * 2_000 + "b"])
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    assert matching(["a" * 32_767], [pattern]) == set()


def test_groups_that_are_too_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ListedGroups([f"g{number:04}" for number in range(3_000)])
    with groups(monkeypatch, cluster, ["g*", "named"], most=5) as found:
        assert found.names() == ["g0000", "g0001", "g0002", "g0003", "named"]
        assert found.left_out == 2_996
        # A group that is made later displaces none that is watched.
        for name in found.names():
            found.committed(name, {("t", 0)})
        cluster.names = cluster.exist = ["g", "g-evil", *cluster.names[1:]]
        found.members(found.names())
        assert found.names() == ["g", "g0001", "g0002", "g0003", "named"]
        cluster.names = cluster.exist = ["g0002", "g0003"]
        found.members(found.names())
        assert found.names() == ["g0002", "g0003", "named"]
        assert found.left_out == 0


def test_a_silent_coordinator_is_asked_by_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    # An admin client keeps asking a coordinator that it once knew, wherever it moves.
    cluster = ListedGroups(["g"])
    with groups(monkeypatch, cluster, ["g"]) as found:
        cluster.silent = {"g"}
        assert found.members(["g"])["g"].error
        moved = ListedGroups(["g"])
        monkeypatch.setattr(group_offsets, "admin", lambda _: moved)
        assert found.members(["g"])["g"].error
        assert found.members(["g"])["g"].members == 1


def test_a_long_name_is_watched_only_if_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each series of each partition has it.
    cluster = ListedGroups(["g", "g" * 200, "g" * 201, "g" * 32_767])
    with groups(monkeypatch, cluster, ["g*", "g" * 201]) as found:
        assert found.names() == ["g", "g" * 200, "g" * 201]
        assert found.left_out == 1


def test_no_room_is_left_beside_named_groups() -> None:
    assert limited(["a", "b"], {"a"}, -1) == set()


def test_a_long_client_id_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ListedGroups(["g"], client="c" * 32_767)
    with groups(monkeypatch, cluster, ["g"]) as found:
        owner = found.members(["g"])["g"].owners["t", 0]
    assert owner == f"{'c' * 100} at /10.0.0.7"


@pytest.mark.parametrize(
    ("simple", "state", "memberless"),
    [
        (True, ConsumerGroupState.EMPTY, True),
        # Its members left: it keeps their protocol.
        (False, ConsumerGroupState.EMPTY, False),
        # It does not exist.
        (True, ConsumerGroupState.DEAD, False),
        (False, ConsumerGroupState.STABLE, False),
    ],
)
def test_a_group_that_never_had_members_is_recognised(
    *, simple: bool, state: ConsumerGroupState, memberless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ListedGroups(["g"], simple=simple, state=state)
    with groups(monkeypatch, cluster, ["g"]) as found:
        assert found.members(["g"])["g"].memberless is memberless


@pytest.mark.parametrize("state", [ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY])
def test_a_group_that_no_broker_lists_stays_until_it_is_gone(
    state: ConsumerGroupState, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ListedGroups(["g1", "g2"], state=state)
    with groups(monkeypatch, cluster, ["g*"]) as found:
        for name in found.names():
            found.committed(name, {("t", 0)})
        # Its coordinator moves.
        cluster.names = ["g1"]
        assert set(found.members(found.names())) == {"g1", "g2"}
        cluster.exist = ["g1"]
        assert set(found.members(found.names())) == {"g1"}
        assert found.names() == ["g1"]


def test_a_named_group_that_does_not_exist_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ListedGroups([])
    with groups(monkeypatch, cluster, ["g", "other-*"]) as found:
        assert set(found.members(found.names())) == {"g"}


def test_a_silent_coordinator_hides_only_its_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ListedGroups(["g1", "g2", "g3"])
    cluster.silent = {"g2"}
    with groups(monkeypatch, cluster, ["g*"]) as found:
        looks = found.members(found.names())
    assert {name: look.error for name, look in looks.items()} == {
        "g1": "", "g2": "its coordinator does not answer", "g3": ""
    }  # fmt: skip
