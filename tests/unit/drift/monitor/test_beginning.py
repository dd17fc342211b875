"""The first summaries, and those after a pause: old events and long gaps do no harm."""

from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.windows.kafka_time import AGREE
from tests.support.drift.synthetic import (
    FEATURES,
    HOUR,
    PARTITION,
    START,
    Shift,
    reference,
    summaries,
    watch,
)

OLD = 60 * 24
"""Hours."""


@pytest.mark.parametrize("number", [1, 30])
def test_an_old_event_does_not_end_learning(number: int) -> None:
    month = 30 * 24 * HOUR
    known = reference("1")
    cold = replace(known, fields=tuple(replace(each, reach_ms=month) for each in known.fields))
    state = DriftWatch(AlarmBudget(30.0, 0.5, None, 2_048), (PARTITION,), 0, lambda *_: cold)
    unusual = Shift(score=0.6, features=dict.fromkeys(FEATURES, 1.6))
    (first, _), *_ = summaries(1, named=cold)
    (window,) = first["windows"]
    old = [
        window | {"start": START - (OLD - 24 * n) * HOUR, "count": 1, "cells": b"", "sums": b""}
        for n in range(number)
    ]
    found = []
    for n, (summary, at) in enumerate(summaries(50, shifts={0: unusual}, named=cold)):
        windows = [*old, *summary["windows"]] if n == 0 else summary["windows"]
        found += state.update({**summary, "windows": windows}, at)
    assert found == []
    assert (state.first_start, state.late) == (START, number)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    names = {each.field.name for each in cold.fields}
    waiting = np.array([key.field in names for key in streams.keys])
    assert waiting.sum() > 50
    assert (streams.since[waiting] == 0).all()
    assert set(streams.learning_until[waiting].tolist()) == {START + month}


def test_windows_close_again_after_a_pause_at_an_hourly_rate() -> None:
    state = watch()
    for summary, at in summaries(60):
        state.update(summary, at)
    for number, (summary, at) in enumerate(summaries(100, first=160), 1):
        state.update(summary, at)
        assert state.closed == 60 + (number if number >= AGREE else 0)
    assert state.detected_at == START + 260 * HOUR
