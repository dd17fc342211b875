"""The rules for the events of a model version. A new rule is a file of its own and a line here."""

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Final, Self

from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.missing import missing
from stream_scorer.drift.quality.new_values import new_value
from stream_scorer.drift.quality.open_faults import OpenFaults
from stream_scorer.drift.quality.pooled_window import Pool, PooledWindow
from stream_scorer.drift.quality.reference_view import ReferenceView
from stream_scorer.drift.quality.unit_change import unit_change
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.models.reference.contract import DriftReference

Rule = Callable[[PooledWindow, ReferenceView], list[QualityFault]]

RULES: Final[tuple[Rule, ...]] = (
    unit_change,
    missing,
    new_value,
)


class QualityRules:
    """Judges the closed windows of one model version.

    Args:
        reference: The version's reference.
    """

    def __init__(self, reference: DriftReference) -> None:
        self._expected = ReferenceView(reference)
        self._pool = Pool()
        self._faults = OpenFaults()

    @property
    def reference(self) -> DriftReference:
        """The version's reference."""
        return self._expected.reference

    def window(self, closed: ClosedWindow) -> list[QualityFault]:
        """Return the faults that exist in a window, then those that are over with it.

        Segments with fewer than 200 events wait for the next windows. A window that is not tiled,
        or was counted by another reference, is not judged.

        Raises:
            ValueError: The window's cells are not those of the reference.
        """
        if not closed.tiled or closed.reference != self._expected.reference.digest:
            return []
        window = self._pool.add(closed, self._expected)
        if not window.ready.any():
            return []
        found = [fault for rule in RULES for fault in rule(window, self._expected)]
        ready = {name for name, enough in zip(window.segments, window.ready, strict=True) if enough}
        # A segment that the plan no longer has cannot be judged again: its faults are over.
        known = set(window.segments)
        return self._faults.update(
            found, (closed.start, closed.end), lambda key: key[2] in ready or key[2] not in known
        )

    def snapshot(self) -> bytes:
        """Return the state."""
        document = {"pool": self._pool.document(), "faults": self._faults.document()}
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def restore(cls, data: bytes, reference: DriftReference) -> Self:
        """Return the rules with a state.

        Raises:
            ValueError: The data are not a state of rules for this reference.
        """
        rules = cls(reference)
        try:
            document = json.loads(data)
            rules._pool = Pool.read(document["pool"], len(reference.fields))
            rules._faults = OpenFaults.read(document["faults"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a state of the quality rules: {error!r}") from error
        return rules

    def copy(self) -> Self:
        """Return rules with the same state, which can change separately."""
        made = copy(self)
        # The pool's arrays are replaced, and never changed in place; the reference is shared.
        made._pool, made._faults = replace(self._pool), self._faults.copy()  # noqa: SLF001 its own
        return made
