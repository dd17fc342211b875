"""When a dead letter is evidence of a rejection: what the decisions must show."""

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading.decode import DecodedColumns
from stream_scorer.core.events.batch import Rejections, RejectReason
from stream_scorer.errors import SchemaError
from stream_scorer.reproduce import decisions
from stream_scorer.settings import Settings
from stream_scorer.state.commands import adopt


def kept(
    monkeypatch: pytest.MonkeyPatch, first: dict[int, int], decided: dict[int, list[int]]
) -> dict[int, list[int]]:
    """Return the rest of offsets 5 and 9 of partition 1, by what the decisions' topic has."""
    monkeypatch.setattr(adopt, "bounds", lambda *_: (first, {}))
    offsets: Any = [(p, np.array(each, np.int64)) for p, each in decided.items()]
    monkeypatch.setattr(adopt, "_decided", lambda *_: offsets)
    found = adopt._undecided(Settings(), {1: {5: "CURRENCY", 9: "EMPTY"}}, lambda _: None)
    return {partition: sorted(own) for partition, own in found.items()}


def test_a_decided_record_is_not_a_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(monkeypatch, {0: 0, 1: 0}, {1: [4, 5, 6], 2: [9]}) == {1: [9]}


def test_where_no_decision_was_deleted_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(monkeypatch, {0: 0, 1: 0}, {}) == {1: [5, 9]}


def test_a_decision_that_may_have_been_deleted_is_not_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert kept(monkeypatch, {0: 0, 1: 3}, {1: [6, 7]}) == {1: [9]}
    assert kept(monkeypatch, {0: 0, 1: 3}, {2: [6, 7]}) == {1: []}


NO_REGISTRY: Any = None


class Follower:
    """Three records of the topic of decisions, of which one poll returns all."""

    first: ClassVar = {0: 0}

    def __init__(self, *_: object) -> None:
        self.left = 3

    def mark_end(self, *, stable: bool) -> None:
        assert not stable

    def poll_to_end(self, *_: object) -> Any:
        self.left = 0
        return SimpleNamespace(values=None, partition=np.zeros(3, np.int32), offset=np.arange(3))

    def close(self) -> None:
        pass


class Decoder:
    """Can read the second of three records: a decision for offset 5 of partition 1."""

    def __init__(self, *_: object) -> None:
        pass

    def decode(self, _: object) -> DecodedColumns:
        records = pa.record_batch(
            {"source_topic": ["transactions"], "source_partition": [1], "source_offset": [5]}
        )
        reasons = (RejectReason.FRAMING,) * 2
        refused = Rejections(np.array([0, 2], np.int64), reasons, ("a", "b"))
        return DecodedColumns(records, np.array([1], np.int64), refused)


def test_unreadable_decisions_are_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "TopicFollower", Follower)
    monkeypatch.setattr(decisions, "DecisionDecoder", Decoder)
    monkeypatch.setattr(adopt, "open_registry", lambda _: None)
    monkeypatch.setattr(adopt, "bounds", lambda *_: ({0: 0}, {}))
    skipped: list[int] = []
    found = adopt._undecided(Settings(), {1: {5: "EMPTY", 9: "EMPTY"}}, skipped.append)
    assert (found, skipped) == ({1: {9: "EMPTY"}}, [2])
    # Without a place to count them they are an error, as for `reproduce`.
    with pytest.raises(SchemaError, match="no decision: a"):
        list(decisions.recorded(Settings(), NO_REGISTRY, lambda *_: None))
