"""A process without a free file descriptor ends after a while."""

import os

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.serving.server.descriptors import EXHAUSTED_SECONDS, DescriptorWatch


def test_only_a_long_shortage_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    watch = DescriptorWatch(lambda: now[0])

    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    def check_at(seconds: float, *, free: bool) -> None:
        now[0] = seconds
        with monkeypatch.context() as patched:
            if not free:
                patched.setattr(os, "open", refuse)
            watch.check()

    check_at(0.0, free=False)
    check_at(EXHAUSTED_SECONDS - 1, free=False)
    check_at(EXHAUSTED_SECONDS, free=True)
    check_at(EXHAUSTED_SECONDS + 1, free=False)
    check_at(2 * EXHAUSTED_SECONDS, free=False)
    with pytest.raises(UnavailableError, match="no file descriptor"):
        check_at(2 * EXHAUSTED_SECONDS + 1, free=False)
