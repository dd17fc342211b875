"""Two ways to judge that run next to ours: a constant, and a threshold of lag."""

from collections.abc import Callable, Mapping
from typing import Final

from stream_scorer.lag.verdicts.sample import LagVerdict

LAG_MOST: Final = 1_000
"""Records; a usual threshold of an alert on lag."""


def constant_ok(to_high: int | None) -> LagVerdict:
    """Return OK, whatever is observed."""
    del to_high
    return LagVerdict.OK


def threshold(to_high: int | None) -> LagVerdict:
    """Return SLOW for much lag: an alert on ``lag > 1000`` can tell nothing else."""
    return LagVerdict.SLOW if (to_high or 0) > LAG_MOST else LagVerdict.OK


BASELINES: Final[Mapping[str, Callable[[int | None], LagVerdict]]] = {
    "constant": constant_ok, "threshold": threshold,
}  # fmt: skip
