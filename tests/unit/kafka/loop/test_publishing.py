"""After a commit without an answer, the partitions that are still assigned show its result."""

from collections.abc import Iterable

import pytest

from stream_scorer.errors import FencedError, OffsetsError
from stream_scorer.kafka.client.consumer import GroupMetadata
from stream_scorer.kafka.loop.producer import CommitUncertain
from stream_scorer.kafka.loop.publishing import Publisher
from stream_scorer.kafka.loop.source import NotAMember, Places
from stream_scorer.ports import TransactionAborted
from stream_scorer.telemetry import BatchAborted, CommitSettled
from tests.support.kafka.fake_cluster import RETRIABLE, Cluster

STARTS = {0: 3, 1: 5, 2: 0}
ENDS = {0: 7, 1: 9, 2: 2}


class Partitions:
    """Three partitions of a group; other members may take some of them, one after another.

    Args:
        found: The group's committed offsets.
        taken: Which partition is taken, by number of the wait.
    """

    def __init__(self, found: dict[int, int], taken: Iterable[int] = ()) -> None:
        self.ours = set(found)
        self.leaving = False
        self.outside = False
        self._found = found
        self._taken = list(taken)

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return {partition: self._found[partition] for partition in partitions}

    def settled(self, partitions: Iterable[int]) -> set[int]:
        return self.ours & set(partitions)

    def wait_for_revocation(self, partitions: set[int]) -> bool:
        assert partitions == self.ours
        if not self._taken:
            return self.leaving
        self.ours.discard(self._taken.pop(0))
        return True

    def has_successor(self) -> bool:
        return True

    def places(self, offsets: dict[int, int], notes: dict[int, bytes]) -> list[Places]:
        return [Places("t", offsets, notes)]

    def group_metadata(self) -> GroupMetadata:
        if self.outside:
            raise NotAMember("this process is not a member of group g at the moment")
        return None  # type: ignore[return-value]  # the fake client does not look at it


def published(source: Partitions, cluster: Cluster) -> bool:
    """Publish with a commit whose answer is lost."""
    cluster.raises["commit"] = [RETRIABLE]
    publisher = Publisher(source, cluster.producer(), cluster.heard.append, lambda: False)  # type: ignore[arg-type]  # what publishing calls
    return publisher.publish((), STARTS, ENDS, 10)


@pytest.mark.parametrize(("at", "committed"), [(ENDS, True), (STARTS, False)])
@pytest.mark.parametrize("gone", [(), (1,), (1, 2)])
def test_only_our_partitions_decide_if_a_batch_was_committed(
    at: dict[int, int], committed: bool, gone: tuple[int, ...]  # noqa: FBT001 a parameter of the test
) -> None:  # fmt: skip
    cluster = Cluster()
    source = Partitions(at | dict.fromkeys(gone, 100), gone)
    assert published(source, cluster) is committed
    settled = [each.committed for each in cluster.heard if isinstance(each, CommitSettled)]
    assert settled == [committed]
    assert any(isinstance(each, BatchAborted) for each in cluster.heard) is not committed


def test_a_next_owner_at_our_end_does_not_commit_our_abort() -> None:
    # The next owner of partition 1 decided the same records, up to the end of this batch.
    source = Partitions(STARTS | {1: ENDS[1]}, (1,))
    assert published(source, Cluster()) is False
    source = Partitions(ENDS | {1: STARTS[1]}, (1,))
    assert published(source, Cluster()) is True


def test_when_all_have_gone_nothing_is_known_and_nothing_is_kept() -> None:
    cluster = Cluster()
    source = Partitions(dict.fromkeys(ENDS, 100), (0, 1, 2))
    assert published(source, cluster) is False
    assert not any(isinstance(each, CommitSettled) for each in cluster.heard)
    assert any(isinstance(each, BatchAborted) for each in cluster.heard)


def test_partitions_that_are_leaving_are_not_waited_for() -> None:
    source = Partitions(dict.fromkeys(ENDS, 100))
    source.leaving = True
    assert published(source, Cluster()) is False


@pytest.mark.parametrize("gone", [(), (0,), (0, 1)])
def test_an_unexpected_offset_of_ours_stops_the_process(gone: tuple[int, ...]) -> None:
    source = Partitions(STARTS | dict.fromkeys(gone, 100) | {2: 1}, gone)
    with pytest.raises(OffsetsError, match="another process commits for this group"):
        published(source, Cluster())


@pytest.mark.parametrize(
    ("found", "committed"), [(ENDS, True), (STARTS, False), (STARTS | {0: 100}, None)]
)
def test_a_fenced_commit_leaves_only_if_a_successor_went_on(
    found: dict[int, int],
    committed: bool | None,  # noqa: FBT001 a parameter of the test
) -> None:
    """A namesake that has started, but decided nothing, does not make the batch uncertain."""
    cluster = Cluster()
    producer = cluster.producer()

    def fenced() -> None:
        raise CommitUncertain("the epoch was raised", fenced=True)

    producer.commit = fenced  # type: ignore[method-assign]  # its answer is lost
    publisher = Publisher(Partitions(found), producer, cluster.heard.append, lambda: False)  # type: ignore[arg-type]  # what publishing calls
    if committed is None:
        with pytest.raises(FencedError, match="taken over by another process"):
            publisher.publish((), STARTS, ENDS, 10)
    else:
        assert publisher.publish((), STARTS, ENDS, 10) is committed


def test_a_batch_without_membership_is_aborted_without_offsets() -> None:
    cluster = Cluster()
    source = Partitions(ENDS)
    source.outside = True
    with pytest.raises(TransactionAborted, match="not a member of group g") as aborted:
        published(source, cluster)
    # The batch is read again any number of times; the next poll reports the lost partitions.
    assert aborted.value.network
    called = [method for _, method in cluster.calls]
    assert "abort" in called
    assert not {"offsets", "commit"} & set(called)


def methods(cluster: Cluster) -> list[str]:
    return [method for _, method in cluster.calls if method not in ("init", "poll", "close")]


def test_an_opened_transaction_is_continued_with_its_records() -> None:
    cluster, laps = Cluster(), list[str]()
    publisher = Publisher(Partitions(ENDS), cluster.producer(), cluster.heard.append, lambda: False)  # type: ignore[arg-type]  # what publishing calls
    publisher.open(ENDS)
    assert publisher.opened
    assert methods(cluster) == ["begin", "offsets"]
    assert publisher.publish((), STARTS, ENDS, 10, laps.append) is True
    assert not publisher.opened
    assert methods(cluster) == ["begin", "offsets", "commit"]
    assert laps == ["begin", "offsets", "send"]
    assert publisher.publish((), STARTS, ENDS, 10) is True
    assert methods(cluster)[3:] == ["begin", "offsets", "commit"]


@pytest.mark.parametrize(("ends", "notes"), [(STARTS, {}), (ENDS, {0: b"1"})])
def test_other_offsets_than_opened_begin_again(
    ends: dict[int, int], notes: dict[int, bytes]
) -> None:
    """An abort of nothing is followed by a rebirth, as every abort."""
    cluster = Cluster()
    publisher = Publisher(Partitions(ENDS), cluster.producer(), cluster.heard.append, lambda: False)  # type: ignore[arg-type]  # what publishing calls
    publisher.open(ends, notes)
    assert publisher.publish((), STARTS, ENDS, 10) is True
    assert methods(cluster) == ["begin", "offsets", "abort", "begin", "offsets", "commit"]
    assert cluster.reborn == ["abort"]


def test_a_discarded_transaction_is_aborted_once() -> None:
    cluster = Cluster()
    publisher = Publisher(Partitions(ENDS), cluster.producer(), cluster.heard.append, lambda: False)  # type: ignore[arg-type]  # what publishing calls
    publisher.open(ENDS)
    publisher.discard()
    publisher.discard()
    assert not publisher.opened
    assert methods(cluster) == ["begin", "offsets", "abort"]


def test_without_membership_no_transaction_stays_open() -> None:
    cluster = Cluster()
    source = Partitions(ENDS)
    source.outside = True
    publisher = Publisher(source, cluster.producer(), cluster.heard.append, lambda: False)  # type: ignore[arg-type]  # what publishing calls
    with pytest.raises(TransactionAborted, match="not a member of group g"):
        publisher.open(ENDS)
    assert not publisher.opened
    assert methods(cluster) == ["begin", "abort"]
