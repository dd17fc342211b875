"""A reference: which rows count for which field, small segments, complete histories, limits."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.models.reference import build as limits
from stream_scorer.models.reference.build import (
    BuiltReference,
    ReferenceJob,
    build_reference,
    has_history,
)
from stream_scorer.models.reference.contract import StreamReference
from stream_scorer.models.reference.format import write_reference
from stream_scorer.models.reference.matching import references_of
from stream_scorer.models.reference.rows import ReferenceRows
from tests.support.models.reference_rows import DAY_MS, MONDAY_MS, job_of, rows_of

DAYS = 16


@pytest.fixture(scope="module")
def built() -> BuiltReference:
    return build_reference(rows_of(DAYS), job_of())


def of(built: BuiltReference, field: str, measure: str, segment: str = "all") -> StreamReference:
    key = StreamKey(field, measure, segment)
    return next(each for each in built.reference.streams if each.key == key)


def test_in_sample_scores_never_enter() -> None:
    rows = rows_of(DAYS)
    worse = replace(
        rows, score=np.where(rows.training, 1.0, rows.score),
        outcome=np.where(rows.training, 2, rows.outcome).astype(np.uint8),
    )  # fmt: skip
    first, second = (build_reference(each, job_of()).reference for each in (rows, worse))
    assert write_reference(first) == write_reference(second)


def test_scores_of_held_rows_do_enter() -> None:
    rows = rows_of(DAYS)
    other = replace(rows, score=np.where(rows.held, rows.score / 2, rows.score))
    first, second = (build_reference(each, job_of()) for each in (rows, other))
    halved = of(second, "score", "level").mean / of(first, "score", "level").mean
    assert halved == pytest.approx(0.5, abs=0.01)


def test_features_are_counted_on_training_rows_with_history(built: BuiltReference) -> None:
    rows = rows_of(DAYS)
    fields = {each.field.name: each for each in built.reference.fields}
    assert fields["AMOUNT"].counts.sum() == rows.training.sum()
    assert fields["AMOUNT"].reach_ms == 0
    # COUNT looks back two days: the first two days of the data are not its reference.
    assert fields["COUNT"].reach_ms == 2 * DAY_MS
    late = rows.training & (rows.time >= MONDAY_MS + 2 * DAY_MS)
    assert abs(int(fields["COUNT"].counts.sum()) - int(late.sum())) <= 1
    assert fields["score"].reach_ms == 2 * DAY_MS
    assert fields["score"].counts.sum() == rows.held.sum() == built.rows_scores


def test_fields_derive_from_fields_of_the_event(built: BuiltReference) -> None:
    depends = {each.field.name: each.depends_on for each in built.reference.fields}
    assert depends["AMOUNT"] == ("amount",)
    assert depends["COUNT"] == ("customer_id",)
    assert depends["NIGHT"] == ("event_time",)
    assert depends["channel"] == ("channel",)
    assert depends["score"] == ("amount", "customer_id", "event_time")


def test_a_stable_level_has_one_half_in_its_band(built: BuiltReference) -> None:
    stream = of(built, "AMOUNT", "level")
    assert stream.low < 0.5 < stream.high
    assert stream.high - stream.low < 0.05
    assert stream.season is not None
    assert stream.season.flat
    # 40 rows an hour: five windows are pooled to 200 rows of a uniform rank.
    assert stream.scale == pytest.approx(np.sqrt(1 / 12 / 200), rel=0.2)
    assert abs(stream.phi) < 0.3


def test_a_season_is_not_noise_of_the_stream(built: BuiltReference) -> None:
    stream = of(built, "NIGHT", "level")
    assert stream.season is not None
    assert not stream.season.flat
    # Night is certain by the hour: nothing is left, and the scale is that of one row.
    assert stream.scale == pytest.approx(1 / 200)
    assert stream.phi == 0


def test_cells_have_values_with_at_least_ten_rows() -> None:
    rows = rows_of(DAYS)
    texts = rows.events.records.column("channel").to_pylist()
    texts[:9] = ["Maria Example"] * 9
    texts[9:30] = [None] * 21
    texts[30:60] = ["\x1b[2J"] * 30
    events = replace_channel(rows, texts)
    fields = {each.field.name: each for each in build_reference(events, job_of()).reference.fields}
    channel = fields["channel"]
    assert channel.field.values == ("pos", "web", "atm")
    assert channel.counts[0, 3:].tolist() == [21, 39]


def replace_channel(rows: ReferenceRows, texts: list[str | None]) -> ReferenceRows:
    records = rows.events.records.set_column(3, "channel", pa.array(texts, pa.string()))
    return replace(rows, events=replace(rows.events, records=records))


def test_a_segment_with_fewer_than_200_rows_has_that_of_all() -> None:
    rows = rows_of(DAYS, segments=3, uneven=True)
    built = build_reference(rows, job_of(("channel=a", "channel=b", "channel=c")))
    large, small = (of(built, "AMOUNT", "level", f"channel={name}") for name in "ac")
    whole = of(built, "AMOUNT", "level")
    assert large.pooled_from == ""
    assert small.pooled_from == "all"
    assert small.high - small.low > whole.high - whole.low
    assert (small.mean, small.scale) == (whole.mean, whole.scale)
    # How many events a small segment has is known.
    assert of(built, "segment", "share", "channel=c").pooled_from == ""


def test_a_running_plan_may_have_other_segments(built: BuiltReference) -> None:
    keys = [StreamKey("AMOUNT", "level", "channel=new"), StreamKey("segment", "share", "x")]
    found = references_of(built.reference, [*keys, built.reference.streams[0].key])
    assert found[0] is not None
    assert (found[0].key, found[0].pooled_from) == (keys[0], "all")
    assert found[1] is None
    assert found[2] is built.reference.streams[0]


def test_the_usual_volume_is_that_of_a_window(built: BuiltReference) -> None:
    assert built.reference.volume == pytest.approx(np.full(168, 40))
    assert built.reference.rejects == {"DUPLICATE": 0.001}


def test_windows_that_are_cut_off_do_not_lower_the_volume() -> None:
    rows = rows_of(DAYS)
    half = int(np.searchsorted(rows.time, MONDAY_MS + 1_800_000))
    events = rows.events.take(np.arange(half, len(rows)))
    later = replace(
        rows, events=events, features=rows.features[half:], score=rows.score[half:],
        outcome=rows.outcome[half:], members=rows.members[half:], training=rows.training[half:],
        held=rows.held[half:],
    )  # fmt: skip
    assert build_reference(later, job_of()).reference.volume == pytest.approx(np.full(168, 40))


def test_data_without_history_have_no_reference() -> None:
    rows = rows_of(3)
    rows = replace(rows, held=rows.time < MONDAY_MS + 1.5 * DAY_MS, training=~rows.training)
    assert not has_history(rows, job_of())
    with pytest.raises(ValueError, match="0 rows for 'score' have a complete history of 2 days"):
        build_reference(rows, job_of())


def test_a_feature_without_history_is_left_out() -> None:
    rows = rows_of(DAYS)
    rows = replace(rows, training=rows.time < MONDAY_MS + DAY_MS)
    built = build_reference(rows, job_of())
    assert built.left_out == ("COUNT",)
    assert "COUNT" not in {each.field.name for each in built.reference.fields}


def test_too_many_streams_are_refused_with_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_MOST", 10)
    job = job_of(("channel=a", "channel=b"))
    with pytest.raises(ValueError, match="streams, at most 10 are watched; list fewer"):
        build_reference(rows_of(DAYS, segments=2), job)


@pytest.mark.parametrize("width", [2_400_000, 7 * 3_600_000, 50_000_000])
def test_windows_that_divide_no_hour_and_no_day_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="summary_window_ms"):
        build_reference(rows_of(3), job_of(summary_window_ms=width))


@pytest.mark.parametrize(("width", "judged"), [(60_000, 3_600_000), (21_600_000, 21_600_000)])
def test_windows_are_judged_by_the_hour_or_longer(width: int, judged: int) -> None:
    built = build_reference(rows_of(DAYS), job_of(summary_window_ms=width))
    assert built.reference.window_ms == judged
    assert of(built, "AMOUNT", "level").low < 0.5 < of(built, "AMOUNT", "level").high


def test_how_far_weeks_move_is_in_the_band() -> None:
    rows = rows_of(28)
    week = (rows.time - MONDAY_MS) // (7 * DAY_MS)
    moved = rows.features.copy()
    moved[:, 0] *= np.exp(np.array([0.0, 0.0, 0.07, -0.07])[week])
    still, moving = (
        of(build_reference(each, job_of()), "AMOUNT", "level")
        for each in (rows, replace(rows, features=moved))
    )
    assert still.high - still.low < 0.05
    # The weeks' means have a standard deviation of 0.016.
    assert moving.high - moving.low > 4 * 0.013 + (still.high - still.low) / 2


def test_two_runs_give_the_same_bytes(built: BuiltReference) -> None:
    again = build_reference(rows_of(DAYS), job_of())
    assert write_reference(again.reference) == write_reference(built.reference)


def test_each_day_is_reported(built: BuiltReference) -> None:
    days: list[str] = []
    build_reference(rows_of(3), replace_history(), days.append)
    assert days == ["2018-03-19", "2018-03-20", "2018-03-21"]


def replace_history() -> ReferenceJob:
    job = job_of()
    specs = [dict(spec, window="1h") if spec["kind"] == "count" else spec for spec in job.specs]
    return replace(job, specs=specs, features=compile_features(specs, Plan()))
