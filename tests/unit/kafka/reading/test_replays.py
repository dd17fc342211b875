"""Partitions are restored in turns: their order, and when one continues alone."""

from collections.abc import Callable

from stream_scorer.kafka.reading.replay import Replays
from stream_scorer.ports import RawRecords


class Steps:
    """A replay that is done after some steps, and that may report that it holds much."""

    def __init__(self, partition: int, told: list[int], much: set[int]) -> None:
        self.partition = partition
        self.next_offset = 0
        self.end = 3
        self.closed = False
        self._told = told
        self._much = much

    @property
    def done(self) -> bool:
        return self.next_offset == self.end

    @property
    def alone(self) -> bool:
        return self.next_offset in self._much

    def step(self) -> RawRecords | None:
        self._told.append(self.partition)
        self.next_offset += 1
        return None

    def close(self) -> None:
        self.closed = True


def order(partitions: int, at_once: int, much: Callable[[int], set[int]]) -> list[int]:
    """Return the partition of each step until all are complete."""
    told: list[int] = []
    replays = Replays(
        lambda partition, _: Steps(partition, told, much(partition)),
        lambda _: None, lambda _: None, at_once, lambda replay: replay.alone,
    )  # fmt: skip
    replays.begin(dict.fromkeys(range(partitions), 3))
    whole: set[int] = set()
    while replays.pending:
        whole |= replays.step()[0]
    assert whole == set(range(partitions))
    return told


def test_a_few_take_turns_and_the_next_begins_when_one_ends() -> None:
    told = order(5, 3, lambda _: set())
    assert len(told) == 15
    assert sorted(told[:3]) == sorted(told[3:6]) == [0, 1, 2]
    for at in range(len(told)):
        begun = set(told[: at + 1])
        ended = {partition for partition in begun if told[: at + 1].count(partition) == 3}
        assert len(begun - ended) <= 3
    assert sorted(dict.fromkeys(told)) == list(range(5))


def test_one_at_a_time_comes_back_in_order() -> None:
    assert order(3, 1, lambda _: set()) == [0] * 3 + [1] * 3 + [2] * 3


def test_a_partition_holding_much_continues_alone() -> None:
    # Partition 1 holds much after its first step, and little after its second.
    told = order(3, 3, lambda partition: {1} if partition == 1 else set())
    first = told.index(1)
    assert told[first + 1] == 1
    assert order(3, 3, lambda _: set()) != told


def test_closing_closes_the_replays_that_have_not_ended() -> None:
    opened: list[Steps] = []

    def open_replay(partition: int, _: int) -> Steps:
        opened.append(Steps(partition, [], set()))
        return opened[-1]

    replays = Replays(open_replay, lambda _: None, lambda _: None, at_once=2)
    replays.begin({0: 3, 1: 3})
    for _ in range(5):
        replays.step()
    ended = [replay.done for replay in opened]
    assert sorted(ended) == [False, True]
    assert [replay.closed for replay in opened] == ended
    replays.close()
    assert all(replay.closed for replay in opened)
    assert not replays.pending
