"""Where a change of a stream began, and whether the stream is back."""

from typing import Final

import numpy as np

from stream_scorer.drift.alarms.family import ChangeFound, Family
from stream_scorer.drift.alarms.nulls import Float64, Int64
from stream_scorer.drift.alarms.severity import is_of_decisions
from stream_scorer.drift.monitor.stream_history import StreamHistory

BACK_LEAST: Final = 24
"""Minimum number of observations after an alarm that can close its episode."""
_BACK_MOST: Final = 160
_SURE: Final = 12.0
"""Expected logarithm of the likelihood ratio of the observations that are taken."""
_LIKELIER: Final = 7.0
"""Logarithm of the likelihood ratio that closes an episode: a factor of 1,000."""


def place_of(
    found: ChangeFound, held: Int64, prior: Float64, family: Family, history: StreamHistory
) -> ChangeFound:
    """Return a change with its likeliest age, by all streams of the same event.

    Score and outcomes of the same transactions change together.

    Args:
        found: What a detector found.
        held: int64[k], observations since each stream's null was last set.
        prior: float64[k], each stream's mean before its latest alarm.
        family: The detectors.
        history: The newest values.
    """
    stream, nulls, spread = found.stream, family.nulls, family.spread
    before = family.mean.copy()
    alone = history.located(found, nulls, before, spread, held, [stream])
    key = nulls.keys[stream]
    if not is_of_decisions(key):
        return alone
    together = [
        number
        for number, each in enumerate(nulls.keys)
        if is_of_decisions(each) and each.segment == key.segment and nulls.calibrated[number]
    ]
    # A stream whose alarm of the same event came before has forgotten the mean before it.
    same = [each for each in together if each != stream and held[each] <= alone.age]
    before[same] = prior[same]
    known = held.copy()
    known[same] = held[stream]
    return history.located(found, nulls, before, spread, known, together)


def is_back(
    stream: int, base: Float64, after: int, family: Family, history: StreamHistory
) -> bool:  # fmt: skip
    """Return whether a stream's mean before an alarm is far likelier than that after it.

    A change within the tolerance is back, too.

    Args:
        stream: Its number.
        base: float64[2], the band of the mean before the alarm.
        after: Observations since the alarm.
        family: The detectors.
        history: The newest values.
    """
    nulls = family.nulls
    usual, changed = float(base.mean()), float(family.mean[stream])
    if abs(changed - usual) <= nulls.delta[stream]:
        return True
    # In standard deviations since the change: what varies more says less.
    scale = float(nulls.scale[stream] * family.spread[stream])
    distance = (changed - usual) / scale
    need = int(np.clip(np.ceil(2 * _SURE / distance**2), BACK_LEAST, _BACK_MOST))
    if after < need:
        return False
    mean, weight = history.newest(stream, need)
    newest = float(nulls.mean[stream] + mean * nulls.scale[stream])
    return weight * distance * ((usual + changed) / 2 - newest) / scale >= _LIKELIER
