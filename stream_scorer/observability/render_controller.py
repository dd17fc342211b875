"""What a rollout's controller does becomes metrics and, where a person must act, log lines."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream_scorer import telemetry as h

_PREFIX = "stream_scorer_"
_HOLDING = frozenset({"INVALID", "INCONCLUSIVE"})
"""Verdicts that a person has to look at."""


class Say(Protocol):
    """Logs a line unless the same condition was logged less than a minute ago."""

    def __call__(  # noqa: D102 see the class
        self, condition: Hashable, event: str, level: str = "warning", **values: object
    ) -> None: ...


class ControllerRenderer:
    """Renders the happenings of a controller.

    Args:
        registry: Where the metrics are scraped from.
        say: Logs.
    """

    def __init__(self, registry: CollectorRegistry, say: Say) -> None:
        self._say = say

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, told, labels, registry=registry)

        self._looks = counter(
            "rollout_looks", "Looks taken, by guard, way and verdict.", "guard", "way", "verdict"
        )
        self._moves = counter(
            "rollout_moves", "Commands written to the control log, done or proposed.", "kind", "how"
        )
        self._held = counter(
            "rollout_commands_refused", "Commands that the control log did not take.", "kind"
        )
        self._full = counter(
            "rollout_rows_left_out", "Decisions and labels left out because too many wait."
        )
        self._late = counter(
            "rollout_labels_late", "Labels that came when their decision had matured."
        )
        self._unreadable = counter(
            "rollout_records_unreadable", "Records that were not what their topic holds."
        )
        self._waiting = Gauge(
            _PREFIX + "rollout_decisions_waiting", "Decisions that wait for their labels.",
            registry=registry,
        )  # fmt: skip
        self._labels = Gauge(
            _PREFIX + "rollout_labels_waiting", "Labels that are kept for their decision.",
            registry=registry,
        )  # fmt: skip
        self.render: dict[type[h.Happening], Callable[[Any], None]] = {
            h.RolloutEvidence: self._evidence,
            h.RolloutJudged: self._judged,
            h.RolloutMoved: self._moved,
            h.RolloutHeld: self._refused,
        }

    def _evidence(self, happening: h.RolloutEvidence) -> None:
        self._waiting.set(happening.waiting)
        self._labels.set(happening.labels)
        self._full.inc(happening.full)
        self._late.inc(happening.late_labels)
        self._unreadable.inc(happening.unreadable)
        if happening.full:
            self._say("rollout full", "rollout_rows_left_out", rows=happening.full)

    def _judged(self, happening: h.RolloutJudged) -> None:
        self._looks.labels(happening.guard, happening.way, happening.verdict).inc()
        if happening.verdict in _HOLDING:
            self._say(
                ("rollout held", happening.guard, happening.verdict),
                "rollout_holds",
                guard=happening.guard,
                verdict=happening.verdict,
            )

    def _moved(self, happening: h.RolloutMoved) -> None:
        how = "proposed" if happening.proposed else "done"
        self._moves.labels(happening.kind, how).inc()
        self._say(
            ("rollout moved", happening.kind, how),
            "rollout_moved",
            kind=happening.kind,
            how=how,
            reason=happening.reason,
        )

    def _refused(self, happening: h.RolloutHeld) -> None:
        self._held.labels(happening.kind).inc()
        self._say(
            ("rollout refused", happening.kind),
            "rollout_command_refused",
            level="error",
            kind=happening.kind,
            refusal=happening.refusal,
        )
