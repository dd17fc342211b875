"""The course of a change that stays: one alarm, and no end."""

import numpy as np

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.nulls import nulls_of
from stream_scorer.drift.alarms.stream_changes import StreamChanges
from stream_scorer.drift.alarms.stream_history import is_back
from stream_scorer.models.reference.contract import Season, StreamReference

HOUR, STREAMS, CHANGE, STEPS, PHI = 3_600_000, 20, 100, 1_500, 0.5
FLAT = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)
SCALE = 0.02


def test_a_change_of_dependent_values_is_not_over_by_chance() -> None:
    """Each value is near the one before, so a day of low values says little."""
    streams = [
        StreamReference(
            StreamKey(f"f{n}", "tail", "all"), 0.5, 0.499, 0.501, SCALE, PHI, 2_000, 80_000, FLAT,
            "",
        )
        for n in range(STREAMS)
    ]  # fmt: skip
    changes = StreamChanges(nulls_of(streams, 0.0), 200_000.0)
    random = np.random.default_rng(5)
    noise, alarms, ends = np.zeros(STREAMS), [], 0
    for step in range(STEPS):
        noise = PHI * noise + np.sqrt(1 - PHI**2) * random.normal(size=STREAMS)
        values = np.append(0.5 + SCALE * (noise + (step >= CHANGE)), np.nan)
        found = changes.observe(values, step * HOUR, (step + 1) * HOUR)
        alarms += [each.found.stream for each in found]
        ends += int(changes.back().sum())
        changes.restart(changes.back())
    assert sorted(alarms) == list(range(STREAMS))
    assert ends == 0


def test_a_change_within_the_tolerance_is_back() -> None:
    reference = StreamReference(
        StreamKey("f", "level", "all"), 0.5, 0.499, 0.501, SCALE, 0.0, 2_000, 80_000, FLAT, ""
    )
    changes = StreamChanges(nulls_of([reference], 0.5), 20_000.0)
    delta = changes.nulls.delta[0]
    for factor in (0.9, 1.5):
        for hour in range(60):
            values = np.array([0.5 + factor * delta, np.nan])
            changes.observe(values, hour * HOUR, (hour + 1) * HOUR)
        mean = np.array([0.5 + factor * delta, 0.0])
        changes.family.settle(np.array([True, False]), mean, np.full(2, 48.0))
        back = is_back(0, changes.base[:, 0], 60, changes.family, changes.history)
        assert back == (factor < 1)
