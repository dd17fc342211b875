"""Judge alarms by the suite's rules: right, late, false; delays; windows with false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.drift_steps.scenarios import NEVER, REFERENCE
from stream_scorer.drift.detection.shifts.detector import Detector
from stream_scorer.ports import Float64, Int64

PATIENCE = 1_000
"""Steps after its onset within which a change must be found."""
WINDOW = 100

Raised = Sequence[tuple[int, int]]
"""Steps and streams of alarms, ascending."""


@dataclass(slots=True)
class Verdict:
    """What was found in one or several scenarios.

    Attributes:
        events: Number of changes.
        delays: Steps from onset to alarm of each change that was found.
        false: Number of false alarms.
        false_windows: Windows of 100 steps with a false alarm.
        windows: All windows after the reference, in which no alarm is possible.
    """

    events: int = 0
    delays: list[int] = field(default_factory=list)
    false: int = 0
    false_windows: int = 0
    windows: int = 0

    def add(self, other: "Verdict") -> None:
        """Pool with another verdict."""
        self.events += other.events
        self.delays += other.delays
        self.false += other.false
        self.false_windows += other.false_windows
        self.windows += other.windows

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without a right alarm."""
        found = len(self.delays)
        missed = self.events - found
        return 2 * found / max(2 * found + self.false + missed, 1)

    @property
    def p_false(self) -> float:
        """Share of windows with a false alarm."""
        return self.false_windows / max(self.windows, 1)

    @property
    def delay(self) -> float | None:
        """Mean delay of the changes that were found; None without one."""
        return float(np.mean(self.delays)) if self.delays else None


def judge(raised: Raised, onset: Int64, steps: int) -> Verdict:
    """Judge one scenario: the first alarm within 1,000 steps of a stream's onset is right.

    Args:
        raised: Alarms; streams beyond ``onset`` (a fleet's) have no change.
        onset: int64[streams], or -1.
        steps: Steps of the scenario.
    """
    found: dict[int, int] = {}
    false = []
    for step, stream in raised:
        start = int(onset[stream]) if stream < len(onset) else NEVER
        if start != NEVER and stream not in found and start <= step <= start + PATIENCE:
            found[stream] = step - start
        else:
            false.append(step)
    return Verdict(
        int((onset != NEVER).sum()), list(found.values()), len(false),
        len({step // WINDOW for step in false}), (steps - REFERENCE) // WINDOW,
    )  # fmt: skip


def run(detector: Detector, values: Float64, first: int) -> list[tuple[int, int]]:
    """Feed a detector; return its alarms.

    Args:
        detector: Already knows the first ``first`` steps.
        values: float64[steps, streams].
        first: First step that it is given.
    """
    raised = []
    for step in range(first, len(values)):
        alarms = detector.update(values[step])
        raised += [(step, int(stream)) for stream in alarms.stream]
    return raised
