"""Quarantine: a record for which the computation always fails is removed from its batch.

::

    a batch fails ──► undone, computed again ──► fails the same way ──► search ──► the one record
                             │ passes: continue                             │
                             └ fails otherwise, 3 times: pause            └ rejected, batch again

The search is a bisection between a prefix of the batch that passes and one that fails: it computes
the prefix in the middle until the two differ by one record. Every trial is undone. The result is
confirmed: the prefix that ends with the record fails once more, and passes without it. See
docs/adr/0066-quarantine.md.
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import numpy as np

from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.kafka.reading.blamed_failures import (
    MOST_RECORDS,
    blames_records,
    kind_of,
    text_of,
)
from stream_scorer.ports import Paused, RawRecords

MOST_CHANGES = 3
"""How often a batch may fail differently from the time before until it pauses."""

Delta = TypeVar("Delta")
Trial = Callable[[RawRecords, Stages, Mapping[int, str]], Result[Delta]]


class SearchBrokenOff(Exception):  # noqa: N818 an outcome that the loop handles, not a user's error
    """The process stops, or a partition of the batch was revoked."""


class Quarantine(Generic[Delta]):
    """Computes failing batches without the records that make them fail.

    Args:
        trial: Computes records, given the rejected rows and their reasons; leaves no trace if it
            fails.
        undo: Undoes the result of a trial.
        go_on: Called before each trial; false ends the search.
    """

    def __init__(
        self,
        trial: Trial[Delta],
        undo: Callable[[Result[Delta]], None],
        go_on: Callable[[], bool],
    ) -> None:
        self._trial = trial
        self._undo = undo
        self._go_on = go_on
        self._in_a_row = 0

    def passed(self, records: int, quarantined: int) -> None:
        """Note a committed batch.

        Args:
            records: Number of its records.
            quarantined: Number of its rejected records.
        """
        self._in_a_row = self._in_a_row + quarantined if records == quarantined else 0

    def compute(
        self, raw: RawRecords, stages: Stages, error: Exception
    ) -> tuple[Result[Delta], Mapping[int, str]]:
        """Compute a batch that has failed once.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            error: How it failed.

        Returns:
            Its result, and the rows that are rejected in it with what fails for each.

        Raises:
            Paused: More records fail than may be rejected, or the failures do not repeat.
            SearchBrokenOff: The search must end.
        """
        rejected: dict[int, str] = {}
        before, changes = kind_of(error), 0
        while True:
            made = self._attempt(raw, stages, rejected)
            if not isinstance(made, Exception):
                return made, rejected
            found = kind_of(made)
            if found == before:
                self._refuse_more(raw, rejected, found)
                rejected[self._search(raw, rejected, made)] = found
                before = ""
            else:
                changes += bool(before)
                before = found
            if changes >= MOST_CHANGES:
                raise Paused("computation", f"a batch fails, each time otherwise; last {found}")

    def _refuse_more(self, raw: RawRecords, rejected: Mapping[int, str], error: str) -> None:
        """Check that one more record may be rejected.

        Raises:
            Paused: It may not: so many failures are hardly the records' fault.
        """
        more = len(rejected) + 1
        in_a_row = self._in_a_row + more if more == len(raw) else more
        if in_a_row > MOST_RECORDS:
            raise Paused(
                "computation",
                f"more than {MOST_RECORDS} records fail and none is taken out; last {error}",
            )

    def _search(self, raw: RawRecords, rejected: Mapping[int, str], error: Exception) -> int:
        """Return the row with which the shortest failing prefix ends.

        Args:
            raw: The batch.
            rejected: Rows that it has lost.
            error: How it fails.

        Raises:
            Paused: The failure does not repeat.
        """
        passes, fails = 0, len(raw)
        while fails - passes > 1:
            middle = (passes + fails) // 2
            if self._fails(raw, middle, rejected):
                fails = middle
            else:
                passes = middle
        row = fails - 1
        without = {**rejected, row: "on trial"}
        if row in rejected or not self._fails(raw, fails, rejected) or (
            self._fails(raw, fails, without)
        ):  # fmt: skip
            raise Paused(
                "computation",
                f"a batch fails, and not for one record each time: {text_of(error)}",
            )
        return row

    def _fails(self, raw: RawRecords, count: int, rejected: Mapping[int, str]) -> bool:
        """Whether the first ``count`` records fail."""
        prefix = raw.where(np.arange(len(raw)) < count)
        known = {row: why for row, why in rejected.items() if row < count}
        found = self._attempt(prefix, Stages(), known)
        if isinstance(found, Exception):
            return True
        self._undo(found)
        return False

    def _attempt(
        self, raw: RawRecords, stages: Stages, rejected: Mapping[int, str]
    ) -> Result[Delta] | Exception:
        """Return a result, or what failed."""
        if not self._go_on():
            raise SearchBrokenOff
        try:
            return self._trial(raw, stages, rejected)
        except Exception as error:
            if not blames_records(error):
                raise
            return error
