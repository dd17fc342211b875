"""Which records a reproduction from the input treats as rejected."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import StateError
from stream_scorer.reproduce import from_input
from stream_scorer.settings import Settings, State
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.rejected_segments import StoredSegment, segment
from stream_scorer.state.stores.open import owner_of


def test_rejections_written_without_the_key_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "key"
    secret.write_text("a5" * 32)
    secret.chmod(0o600)
    settings = Settings(state=State(mac_key_file=secret))
    kept = StoredSegment.of(segment(0, np.array([3], np.int64), ["EMPTY"]))
    ours = owner_of(settings)
    forger = Owner(ours.group, ours.topic)
    stored = {0: ours.rejection(kept), 1: forger.rejection(kept)}

    class Store:
        def __init__(self, *_: Any) -> None:
            pass

        def read(self, number: int) -> Any:
            yield [stored[number]]

    monkeypatch.setattr(from_input, "TopicStore", Store)
    monkeypatch.setattr(from_input, "bounds", lambda *_: ({}, {}))
    nothing: Any = SimpleNamespace(versions=frozenset(), partitions=())
    past = from_input.InputReproduction(
        settings, Plan(), nothing, nothing, nothing, nothing, nothing
    )
    assert past._rejections(0).reason(3) == "EMPTY"
    stored[0] = stored[1]
    with pytest.raises(StateError, match="it carries no MAC"):
        past._rejections(0)
