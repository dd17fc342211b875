"""Since when histories are whole, and until when a feature must wait."""

from dataclasses import dataclass, replace

import pytest

from stream_scorer.state.checkpoint import Bucket
from stream_scorer.state.history import (
    HORIZON,
    INPUT,
    Coverage,
    history,
    merged,
    outlived,
    since_of,
)
from stream_scorer.state.rings import stored_fields

DAY = 86_400_000
NOW = 100 * DAY
RINGS = b"\x01\x01\x03mcc rings"
WHOLE = Bucket(0, 5, 900, 4, 1, NOW, 30 * DAY, {}, RINGS)


@dataclass(frozen=True)
class Needed:
    window_ms: int
    fields: tuple[str, ...] = ()


def coverage(window_days: int, since: dict[str, int], *fields: str, now: int = NOW) -> Coverage:
    (told,) = history([("f", Needed(window_days * DAY, fields))], since, now, 3)
    return told


def test_the_names_of_stored_fields_are_read() -> None:
    assert stored_fields(RINGS) == ("mcc",)
    assert stored_fields(b"") == ()
    with pytest.raises(ValueError, match="damaged"):
        stored_fields(b"\x01\x02\x03mcc\x09x")


def test_what_was_kept_as_it_is_needed_is_whole() -> None:
    assert since_of([WHOLE], ["mcc"], 30 * DAY) == {}
    assert since_of([WHOLE], [], 7 * DAY) == {}


def test_a_new_field_begins_with_the_checkpoint() -> None:
    later = replace(WHOLE, bucket=6, watermark=NOW + 5)
    assert since_of([WHOLE, later], ["mcc", "country"], 30 * DAY) == {"country": NOW + 5}


def test_a_longer_horizon_reaches_back_as_far_as_the_shorter_did() -> None:
    assert since_of([WHOLE], ["mcc"], 60 * DAY) == {HORIZON: NOW - 30 * DAY}


def test_an_empty_bucket_lacks_nothing_but_keeps_what_it_was_told() -> None:
    empty = replace(WHOLE, payload=b"", since={INPUT: 7})
    assert since_of([empty], ["country"], 60 * DAY) == {INPUT: 7}


def test_reasons_are_merged_and_outlived() -> None:
    assert merged([{INPUT: 1, "mcc": 9}, {INPUT: 4}]) == {INPUT: 4, "mcc": 9}
    assert outlived({INPUT: 70 * DAY, "mcc": 70 * DAY + 1}, NOW, 30 * DAY) == {"mcc": 70 * DAY + 1}


def test_a_feature_waits_for_its_own_window_and_fields_only() -> None:
    since = {"country": NOW - 7 * DAY, HORIZON: NOW - 30 * DAY}
    assert coverage(1, since) == Coverage("f", True, NOW - 29 * DAY + 3)
    assert coverage(30, since) == Coverage("f", False, NOW + 3)
    assert coverage(30, since, now=NOW + 3).covered
    assert coverage(7, since, "country") == Coverage("f", False, NOW + 3)
    assert coverage(8, since, "country") == Coverage("f", False, NOW + DAY + 3)
    assert coverage(8, since, "mcc").covered
    assert coverage(0, since, "country") == Coverage("f", True, None)
    assert coverage(60, {}) == Coverage("f", True, None)
