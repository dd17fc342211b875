"""Turns each event into its metrics and, if a person must act, its log line.

The event's class declares both: see ``telemetry.event``.
"""

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from stream_scorer import telemetry as events
from stream_scorer.observability.metrics import create_metric, update_of
from stream_scorer.telemetry.event import History, Line, Metric, Value

_REPEAT_SECONDS = 60.0


class Renderer:
    """A listener that keeps a process's metrics and writes its log.

    Args:
        registry: The registry that is scraped; it refuses a second set of the same metrics.
        logger: The logger; see ``observability.logging``.
        clock: Seconds, monotonic; for the pause between repeated lines.
        kinds: The events that it renders.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
        kinds: Iterable[type[events.Event]] = events.EVENTS,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._history = History()
        self._logged: dict[Hashable, tuple[float, int]] = {}
        self._metrics = {
            metric: create_metric(metric, registry) for kind in kinds for metric in kind.metrics()
        }
        # ``labels()`` takes a lock and builds strings each time, so its result is cached.
        self._series: dict[Metric, dict[tuple[str | int, ...], Callable[[Any], None]]] = {
            metric: {} for metric in self._metrics
        }
        for metric in self._metrics:
            for value in metric.begin:
                self.apply(metric, 0, value)

    def __call__(self, event: events.Event) -> None:
        """Render one event; cheap enough for every batch, safe from any thread."""
        for effect in event.effects(self._history):
            if isinstance(effect, Line):
                self._log(event, effect)
                continue
            # The common case without a further call: one batch has some 20 effects.
            update = self._series[effect[0]].get(effect[2:])
            if update is None or effect[1] is None:
                self.apply(*effect)
            else:
                update(effect[1])

    def apply(self, metric: Metric, value: Value | None, *labels: str | int) -> None:
        """Apply a value to one series of a metric; None removes the series.

        Args:
            metric: Declared by one of the ``kinds``.
            value: The value to add, show or observe.
            labels: Values of the metric's labels, in their order.
        """
        series = self._series[metric]
        if value is None:
            if series.pop(labels, None) is not None:
                self._metrics[metric].remove(*labels)
            return
        update = series.get(labels)
        if update is None:
            update = series[labels] = update_of(self._metrics[metric], labels)
        update(value)

    def _log(self, event: events.Event, line: Line) -> None:
        """Log a line unless the same condition was logged less than a minute ago."""
        names = event.__match_args__ if line.fields is None else line.fields
        fields = {
            name: line.values[name] if name in line.values else getattr(event, name)
            for name in names
        }
        if line.limited:
            condition = (type(event), *(fields[name] for name in line.per))
            now = self._clock()
            last, left_out = self._logged.get(condition, (float("-inf"), 0))
            if now - last < _REPEAT_SECONDS:
                self._logged[condition] = (last, left_out + 1)
                return
            self._logged[condition] = (now, 0)
            if left_out:
                fields["left_out"] = left_out
        getattr(self._logger, line.level)(line.event, **fields)
