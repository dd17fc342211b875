"""The result of the comparison of a challenger with the champion."""

from dataclasses import dataclass

from stream_scorer.performance.warning.contract import LossReference

Interval = tuple[float, float, float]
"""Lower end, value and upper end of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Gated:
    """Champion and challenger on the same test rows. Differences are challenger - champion.

    Attributes:
        passed: Whether the challenger may be proposed.
        rows: Number of test rows.
        frauds: Those that are frauds.
        ap: Difference of the average precisions.
        cost: Difference of the costs per decision, in units of the currency; negative is better.
        days: The challenger's loss on the test days: the reference of its early warning.
    """

    passed: bool
    rows: int
    frauds: int
    ap: Interval
    cost: Interval
    days: LossReference
