"""Finds the clients of librdkafka that a test leaves open.

A client has threads. If the process exits while they run, they use what OpenSSL has already freed,
and can end it with a segmentation fault in place of its exit code.
"""

import traceback
from collections.abc import Mapping
from typing import Any

import pytest

from stream_scorer.kafka.client.library import LibraryClient

_FRAMES = 12


def open_clients(monkeypatch: pytest.MonkeyPatch) -> Mapping[int, str]:
    """Return the clients made from now on that are not freed: where each was made, by its handle.

    Args:
        monkeypatch: Ends the watch.
    """
    left: dict[int, str] = {}
    made, freed = LibraryClient.__init__, LibraryClient.destroy

    def make(self: LibraryClient, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        left[self.handle] = "".join(traceback.format_stack(limit=_FRAMES))

    def free(self: LibraryClient) -> None:
        handle = self.handle
        freed(self)
        left.pop(handle, None)

    monkeypatch.setattr(LibraryClient, "__init__", make)
    monkeypatch.setattr(LibraryClient, "destroy", free)
    return left
