"""Checks that summaries tile the input: each offset of a partition is in one summary.

A gap means that decisions are missing from the open windows, an overlap that some are there twice.
Windows that one of them touches are neither judged nor learned. A summary with forged offsets costs
two marks and no more: its own, and that of the next summary, after which the offsets fit again.
Where summaries were deleted before they were read, each partition's next one does not fit.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, Final

GAP_LEAST: Final = 1_001
"""A transactional producer's markers take offsets, and a compacted or aborted range is skipped; so
smaller gaps mean nothing."""
_PARTITIONS_MOST: Final = 10_000


class Tiles:
    """The next input offset by partition.

    Attributes:
        gaps: Number of gaps.
        overlaps: Number of overlaps.
    """

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._lost: frozenset[int] = frozenset()
        self.gaps = 0
        self.overlaps = 0

    def copy(self) -> "Tiles":
        """Return a copy."""
        made = copy(self)
        vars(made).update(_next=dict(self._next))
        return made

    def fit(self, sources: Iterable[Mapping[str, Any]]) -> bool:
        """Whether the sources of a summary continue those before.

        A partition that is new continues anything.
        """
        return not any(
            source["partition"] in self._lost or any(self._faults(source)) for source in sources
        )

    def take(self, sources: Iterable[Mapping[str, Any]]) -> None:
        """Note the sources of a summary, and count what does not fit."""
        for source in sources:
            self._lost -= {source["partition"]}
            gap, overlap = self._faults(source)
            self.gaps += gap
            self.overlaps += overlap
            number = source["partition"]
            self._next.pop(number, None)
            # Never the larger one of two: a forged offset must not hide the ones after it.
            self._next[number] = source["next_offset"]
        while len(self._next) > _PARTITIONS_MOST:
            del self._next[next(iter(self._next))]

    def _faults(self, source: Mapping[str, Any]) -> tuple[bool, bool]:
        """Return whether a source comes after a gap, and whether it overlaps."""
        first = source["first_offset"]
        known = self._next.get(source["partition"], first)
        return first - known >= GAP_LEAST, first < known

    def lost(self) -> None:
        """Note that summaries were deleted before they were read: offsets begin anew."""
        self.gaps += 1
        self._next, self._lost = {}, self._lost.union(self._next)

    def document(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {
            "next": [list(each) for each in self._next.items()], "lost": sorted(self._lost),
            "gaps": self.gaps, "overlaps": self.overlaps,
        }  # fmt: skip

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Tiles":
        """Return the tiles of a state.

        Raises:
            KeyError: A part is missing.
            ValueError: It is not a state.
        """
        made = cls()
        made._next = {int(number): int(offset) for number, offset in document["next"]}
        made._lost = frozenset(int(number) for number in document["lost"])
        made.gaps, made.overlaps = int(document["gaps"]), int(document["overlaps"])
        return made
