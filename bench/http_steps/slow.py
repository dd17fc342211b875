"""Processes with a slow model: so few requests are an overload that the generator is not one.

``contender.py module bench.http_steps.slow run MS ARGUMENT…`` is ``stream-scorer run`` whose model
takes MS milliseconds for each row; ``… serve MS ARGUMENT…`` is ``stream-scorer serve``. The model
waits, without a lock and without the processor, as for a device.
"""

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_scorer.cli import main
from stream_scorer.models.bundles import loader
from stream_scorer.models.predictors.predictors import ScoringPredictor

Float64 = NDArray[np.float64]


class WaitingPredictor(ScoringPredictor):
    """Scores as our kernels do, and takes a fixed time for each row."""

    row_seconds = 0.0

    def scores(self, features: Float64) -> Float64:
        """Return float64[n], late."""
        time.sleep(self.row_seconds * len(features))
        return super().scores(features)


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return the run of a command whose models are slow.

    Args:
        arguments: The command, milliseconds for each row, and the command's arguments.
    """
    command, milliseconds, *rest = arguments
    WaitingPredictor.row_seconds = float(milliseconds) / 1e3
    vars(loader)["ScoringPredictor"] = WaitingPredictor
    sys.argv = ["stream-scorer", command, *rest]
    return main
