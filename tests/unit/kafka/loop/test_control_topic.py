"""Records of the control topic that were read before a stall are not lost."""

import numpy as np
import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.loop import control_topic
from stream_scorer.kafka.loop.control_topic import KeptTopic
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import Kafka


class Follower:
    """A topic of four records: two are readable, and two only when the broker sends again."""

    def __init__(self) -> None:
        self.partitions = (0,)
        self.first = {0: 0}
        self.speaks = 2
        self._next = 0

    def mark_end(self, *, stable: bool = True) -> None:
        assert stable

    @property
    def left(self) -> int:
        return 4 - self._next

    def poll(self, maximum: int, wait: float) -> RawRecords | None:  # noqa: ARG002 it never waits
        offset = np.arange(self._next, self.speaks)
        self._next = self.speaks
        if not len(offset):
            return None
        return RawRecords(
            BytesColumn.of(b"%d" % at for at in offset),
            BytesColumn.nulls(len(offset)),
            None,
            np.zeros(len(offset), np.int32),
            offset,
            np.zeros(len(offset), np.int64),
        )

    def poll_to_end(self, maximum: int, wait: float) -> RawRecords | None:
        raw = self.poll(maximum, wait)
        if raw is None:
            raise UnavailableError("stalled")
        return raw

    def close(self) -> None:
        pass


@pytest.mark.parametrize("by", ["to_end", "poll"])
def test_what_was_read_before_a_stall_is_returned_after_it(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    follower = Follower()
    monkeypatch.setattr(control_topic, "TopicFollower", lambda *_: follower)
    topic = KeptTopic(Kafka(), "rollout")
    with pytest.raises(UnavailableError, match="stalled"):
        topic.to_end()
    follower.speaks = 4
    if by == "poll":
        assert [each.offset for each in topic.poll(0.0)] == [0, 1]
        assert [each.offset for each in topic.poll(0.0)] == [2, 3]
    else:
        assert [each.offset for each in topic.to_end()] == [0, 1, 2, 3]
    assert list(topic.to_end()) == []
