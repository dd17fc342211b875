"""The reader of progress is closed while another thread polls: that would end the process."""

import threading
from collections.abc import Callable

import pytest

from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.upload import progress as progress_module
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.errors import UnavailableError
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings

SECONDS = 60.0
SHORT_SECONDS = 0.2


class SlowFollower:
    """Waits in its poll, and notes what was done in which order."""

    def __init__(self, *_: object) -> None:
        self.left = 1
        self.polls = threading.Event()
        self.may_end = threading.Event()
        self.done: list[str] = []

    def mark_end(self, *, stable: bool) -> None:
        del stable

    def poll_to_end(self, *_: object) -> None:
        self.polls.set()
        assert self.may_end.wait(SECONDS)
        self.left = 0
        self.done.append("polled")

    def close(self) -> None:
        self.done.append("closed")


def started(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_a_close_waits_for_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = SlowFollower()
    monkeypatch.setattr(progress_module, "TopicFollower", lambda *_: follower)
    topic = ProgressTopic(Settings(), FileRegistry(SCHEMAS_DIRECTORY))
    found: list[EdgeProgress] = []
    reading = started(lambda: found.append(topic.newest("till")))
    assert follower.polls.wait(SECONDS)
    closing = started(topic.close)
    closing.join(SHORT_SECONDS)
    follower.may_end.set()
    for each in (reading, closing):
        each.join(SECONDS)
    assert follower.done == ["polled", "closed"]
    assert found == [EdgeProgress()]
    with pytest.raises(UnavailableError, match="closed"):
        topic.newest("till")
