"""A snapshot at any point, and what follows it, give the same alarms and state, bit for bit."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.snapshots import continue_from, document_of, snapshot_of
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.drift.state.snapshot import pack, unpack
from stream_scorer.security.canonical_json import canonical, parse
from tests.support.drift.synthetic import FEATURES, HOUR, START, Shift, lookup, summaries, watch

WINDOWS = 260
SHIFTS = {
    40: Shift(score=1.6),
    110: Shift(score=1.6, missing={"f1": 0.2}),
    140: Shift(score=1.6),
    170: Shift(score=2.2, features=dict.fromkeys(FEATURES, 0.7)),
}


@cache
def stream() -> list[tuple[dict[str, Any], int]]:
    return list(summaries(WINDOWS, shifts=SHIFTS))


def command(state: DriftWatch, at: int, found: list[Alarm]) -> list[Alarm]:
    """Give a command at some summaries: it accepts the first change, and snoozes later."""
    record = {"command_id": f"{at:032x}", "until": None, "key_id": "ab", "reason": ""}
    opened = [each.event_id for each in found if each.change == "opened"]
    if at == 70:
        return state.command(record | {"kind": "accept", "event_id": opened[0]})
    if at == 100:
        until = START + 115 * HOUR
        return state.command(record | {"kind": "snooze", "event_id": "", "until": until})
    return []


@cache
def expected() -> tuple[list[Alarm], bytes]:
    state = watch()
    return run(state, 0, WINDOWS, []), snapshot_of(state, WINDOWS)


def run(state: DriftWatch, first: int, last: int, found: list[Alarm]) -> list[Alarm]:
    for at in range(first, last):
        found += command(state, at, found)
        found += state.update(*stream()[at])
    return found


@given(st.lists(st.integers(0, WINDOWS), min_size=1, max_size=4).map(sorted))
@settings(max_examples=8, deadline=None)
@example([46, 47, 112, 175])
def test_restarts_anywhere_change_nothing(cuts: list[int]) -> None:
    state, before = watch(), 0
    found: list[Alarm] = []
    for cut in cuts:
        found = run(state, before, cut, found)
        state = continue_from(snapshot_of(state, cut), watch(), lookup)
        before = cut
    found = run(state, before, WINDOWS, found)
    assert repr(found) == repr(expected()[0])
    assert snapshot_of(state, WINDOWS) == expected()[1]


def test_late_records_are_a_part_of_the_state() -> None:
    state = watch()
    run(state, 0, 3, [])
    state.arrivals.late = 7
    read = continue_from(snapshot_of(state, 3), watch(), lookup)
    assert document_of(read, 3).meta.late_records == read.arrivals.late == 7


def test_a_snapshot_of_an_earlier_release_has_no_late_records() -> None:
    sections = dict(unpack(expected()[1]))
    for name in ("meta", "fold"):
        values = parse(sections[name])
        part = values["arrivals"] if name == "fold" else values
        del part["late" if name == "fold" else "late_records"]
        sections[name] = canonical(values)
    read = continue_from(pack(sections), watch(), lookup)
    assert document_of(read, 3).meta.late_records == 0


def test_the_stream_of_the_test_has_every_kind_of_event() -> None:
    kinds = {(each.kind, each.change) for each in expected()[0]}
    assert kinds >= {
        ("drift", "opened"), ("drift", "accepted"), ("fault", "opened"), ("fault", "closed"),
        ("fleet", "opened"),
    }  # fmt: skip
    assert any(each.snoozed for each in expected()[0])


def test_a_copy_continues_as_its_original_does() -> None:
    one = watch()
    run(one, 0, 45, [])
    two = one.copy()
    first = [one.update(*each) for each in stream()[45:80]]
    assert repr([two.update(*each) for each in stream()[45:80]]) == repr(first)
    assert any(first)
    assert snapshot_of(one, 80) == snapshot_of(two, 80)


def test_a_stream_has_at_most_two_kilobytes() -> None:
    state = watch()
    run(state, 0, 60, [])
    data = snapshot_of(state, 60)
    parts = unpack(data)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    recent = state.versions["fraud", "1"].recent.nbytes
    arrays = len(parts["state/0"]) + len(parts["streams/0"]) - recent
    # Names and classes are text; the counts of the newest windows belong to fields, not to streams.
    names = sum(len(key.text) for key in streams.keys)
    assert (arrays + names) / len(streams.keys) <= 2_048
    # What is written to the topic has everything, and is compressed.
    assert len(data) / len(streams.keys) <= 1_024


def test_status_says_what_the_state_is() -> None:
    state = watch()
    run(state, 0, 60, [])
    said = MonitorDocument.read(snapshot_of(state, 60))
    assert said.meta.summaries_offset == 60
    assert said.meta.windows == 720
    assert (said.meta.guaranteed_windows, said.meta.calibrated_windows) == (7_200, 800)
    (version,) = said.versions
    score = [key.text for key in version.keys].index("score/level@all")
    assert version.state[score] == 2
    assert version.history[score, -1] == pytest.approx(version.value[score], rel=1e-3)
    assert np.isfinite(version.history[score]).sum() == 60
    assert version.share.sum() == pytest.approx(1)


@pytest.mark.parametrize("section", ["fold", "open", "streams/0", "state/0", "meta"])
def test_a_damaged_snapshot_is_refused(section: str) -> None:
    state = watch()
    run(state, 0, 5, [])
    parts = unpack(snapshot_of(state, 5))
    for broken in (b"", b"{}", parts[section][:-1]):
        with pytest.raises(ValueError, match=r".+"):
            continue_from(pack(parts | {section: broken}), watch(), lookup)


def test_a_snapshot_of_the_earlier_format_is_refused() -> None:
    data = snapshot_of(watch(), 0)
    assert data.startswith(b"SSDRIFT2")
    with pytest.raises(ValueError, match="another format"):
        continue_from(b"SSDRIFT1" + data[8:], watch(), lookup)


def test_a_reference_that_is_gone_is_noted() -> None:
    state = watch()
    run(state, 0, 50, [])
    after = continue_from(snapshot_of(state, 50), watch(), lambda *_: None)
    found = after.versions["fraud", "1"]
    assert found.streams is None
    assert "not found" in found.note
