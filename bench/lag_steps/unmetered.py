"""A scorer that keeps no metrics and writes no log: what happens is reported to nothing.

``contender.py module bench.lag_steps.unmetered ARGUMENT...`` runs ``stream-scorer run`` so.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from stream_scorer import telemetry as events
from stream_scorer.cli import main
from stream_scorer.observability.render import Renderer
from stream_scorer.processes import run_process


class NoRenderer(Renderer):
    """A listener that does nothing: it has no metrics, and renders no event."""

    def __init__(self, *_: Any) -> None:
        """Create no metric."""

    def __call__(self, event: events.Event) -> None:
        """Do nothing."""


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return what runs a scorer without metrics.

    Args:
        arguments: Of ``stream-scorer run``.
    """
    vars(run_process)["Renderer"] = NoRenderer
    sys.argv = ["stream-scorer", "run", *arguments]
    return main
