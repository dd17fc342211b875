"""Which faults are open: a fault is over after two judged windows without it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from stream_scorer.drift.quality.contract import QualityFault

_WITHOUT: Final = 2
Key = tuple[str, str, str]
"""Name, field and segment of a fault."""


@dataclass(slots=True)
class OpenFaults:
    """The open faults, each with the number of judged windows without it."""

    _open: dict[Key, tuple[QualityFault, int]] = field(default_factory=dict)

    @property
    def keys(self) -> set[Key]:
        """The open faults."""
        return set(self._open)

    def update(
        self,
        found: Iterable[QualityFault],
        window: tuple[int, int],
        judged: Callable[[Key], bool],
    ) -> list[QualityFault]:
        """Return the faults of a window, then those that are over.

        Args:
            found: Faults that a rule found in the window.
            window: Its start and end, ms since the epoch.
            judged: Whether a fault that is not found was looked for.
        """
        now = {(each.name, each.field, each.segment): each for each in found}
        over = []
        for key, (fault, without) in list(self._open.items()):
            if key in now or not judged(key):
                continue
            if without + 1 < _WITHOUT:
                self._open[key] = (fault, without + 1)
                continue
            del self._open[key]
            over.append(replace(fault, window_start=window[0], window_end=window[1], open=False))
        self._open |= {key: (fault, 0) for key, fault in now.items()}
        return [*now.values(), *over]

    def copy(self) -> Self:
        """Return the same faults, which can change separately."""
        return type(self)(dict(self._open))

    def document(self) -> list[list[Any]]:
        """Return the state for JSON."""
        return [
            [*(getattr(fault, each.name) for each in fields(fault)), without]
            for fault, without in self._open.values()
        ]

    @classmethod
    def read(cls, document: list[list[Any]]) -> Self:
        """Return the faults of a state.

        Raises:
            TypeError: It is not one.
        """
        made = [(QualityFault(*row[:-1]), int(row[-1])) for row in document]
        return cls({(fault.name, fault.field, fault.segment): (fault, n) for fault, n in made})
