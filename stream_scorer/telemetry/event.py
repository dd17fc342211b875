"""The base of every event: its metrics and its log line, as data.

This module imports nothing heavy, because nearly every folder imports the events.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class Metric:
    """A metric, declared once, in the class of its event.

    Label values are bounded: outcomes, stages, reject reasons, flags and results are closed sets;
    partitions, deployed versions, detectors and dependencies are few and chosen by an operator.

    Args:
        name: Its name without the prefix ``stream_scorer_``, unit included.
        text: Help text.
        labels: Names of its labels.
        begin: Values of its only label that are shown as 0 before they occur: a series that begins
            at its first event shows no rate for that event.
        bounds: Upper bucket boundaries of a histogram, ascending, without infinity.
    """

    def __init__(
        self, name: str, text: str, *labels: str,
        begin: tuple[str, ...] = (), bounds: tuple[float, ...] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self.text = text
        self.labels = labels
        self.begin = begin
        self.bounds = bounds


class Counter(Metric):
    """A sum: values are added."""


class Gauge(Metric):
    """A current value: the last one is shown; None removes the series."""


class Histogram(Metric):
    """A distribution: a value is one observation."""


class ArrayHistogram(Metric):
    """A distribution without labels: a value is a sequence of observations."""


@dataclass(frozen=True, slots=True)
class Line:
    """A log line, for a person who must act.

    Attributes:
        event: Its ``event``.
        section: The section of docs/RUNBOOK.md that explains it.
        level: Its ``level``.
        fields: Its fields, in order; None: all attributes of the event.
        per: Fields that distinguish the conditions of its event class. A condition that repeats is
            logged at most once a minute, with the count ``left_out``.
        limited: False: it is logged each time.
        values: Values of fields that the event does not have, or that replace the event's.
    """

    event: str
    section: str
    level: Literal["info", "warning", "error"] = "warning"
    fields: tuple[str, ...] | None = None
    per: tuple[str, ...] = ()
    limited: bool = True
    values: Mapping[str, object] = field(default_factory=dict)

    def given(self, **values: object) -> "Line":
        """Return the line with values that replace the event's."""
        return replace(self, values=values)


Value = float | Sequence[float] | NDArray[np.float64]
Effect = Line | tuple[Metric, Value | None, *tuple[str | int, ...]]
"""A line to log, or a metric with its value and the values of its labels."""


@dataclass(slots=True)
class History:
    """The state that earlier events of a process leave for later ones.

    Attributes:
        aborts: Transactions aborted since the last one was committed.
        assigned: Input partitions of the process.
        lagging: Group, topic and partition of each lag that is shown.
        unavailable: Dependencies that are unavailable.
        refused: Name and version of each deployed bundle that its last verification refused.
        loaded: Name, version, content hash and signer of each deployed bundle that is loaded.
        expected: NAME:VERSION of each version that should decide.
        device_release: Release that a device decides with, and the beginning of its content hash.
    """

    aborts: int = 0
    assigned: set[int] = field(default_factory=set)
    lagging: set[tuple[str, str, int]] = field(default_factory=set)
    unavailable: set[str] = field(default_factory=set)
    refused: set[tuple[str, str]] = field(default_factory=set)
    loaded: set[tuple[str, str, str, str]] = field(default_factory=set)
    expected: frozenset[str] = frozenset()
    device_release: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something for metrics and logs to show.

    A class declares its metrics and log lines as class attributes, next to its fields.
    """

    @abstractmethod
    def effects(self, history: History) -> Iterable[Effect]:
        """Return the event's changes of metrics, and a log line if a person must act.

        Args:
            history: The state from earlier events of the process; the event updates it.
        """

    @classmethod
    def metrics(cls) -> list[Metric]:
        """Return the metrics that the class declares."""
        return [each for each in vars(cls).values() if isinstance(each, Metric)]

    @classmethod
    def lines(cls) -> list[Line]:
        """Return the log lines that the class declares."""
        return [each for each in vars(cls).values() if isinstance(each, Line)]


Listener = Callable[[Event], None]
