"""Numbers for the names of versions, arms and segments, in the order in which they are met."""

import json
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.performance.measures.contract import ALL, Bool, Int64

_VERSIONS_MOST: Final = 1_000
_ARMS_MOST: Final = 200
_SEGMENTS_MOST: Final = 64
_Name = TypeVar("_Name", bound=Hashable)


class Names:
    """Numbers of names; names beyond the maximum number have none."""

    def __init__(self) -> None:
        self.versions: list[tuple[str, str]] = []
        self.arms: list[str] = []
        self.segments: list[str] = [ALL]

    def segment(self, name: str) -> int:
        """Return the bit of a segment; 0, that of all decisions, if there are too many."""
        if name in self.segments:
            return self.segments.index(name)
        if len(self.segments) >= _SEGMENTS_MOST:
            return 0
        self.segments.append(name)
        return len(self.segments) - 1

    def of(self, records: pa.RecordBatch, sound: Bool) -> tuple[Int64, Int64]:
        """Return two int64[n]: numbers of version and arm; -1 without one.

        Args:
            records: n decisions.
            sound: bool[n]; others get no new number.
        """
        model = pc.binary_join_element_wise(
            records.column("model"), records.column("model_version"), "\0"
        )
        version = self._numbers(model, sound, self.versions, _VERSIONS_MOST, _split)
        return version, self._numbers(records.column("arm"), sound, self.arms, _ARMS_MOST, str)

    @staticmethod
    def _numbers(
        column: pa.Array, sound: Bool, known: list[_Name], most: int, parse: Callable[[str], _Name]
    ) -> Int64:
        texts = column.dictionary_encode()
        which = np.asarray(texts.indices, np.int64)
        numbers = np.full(len(texts.dictionary), -1, np.int64)
        index = {name: number for number, name in enumerate(known)}
        # In the order of the rows, so that the numbers do not depend on the batches.
        for at in dict.fromkeys(which[sound].tolist()):
            name = parse(texts.dictionary[at].as_py())
            if name not in index and len(known) < most:
                index[name] = len(known)
                known.append(name)
            numbers[at] = index.get(name, -1)
        found: Int64 = numbers[which]
        return found

    def dump(self) -> bytes:
        """Return the names as they are kept."""
        named = {"versions": self.versions, "arms": self.arms, "segments": self.segments}
        return json.dumps(named).encode()

    def restore(self, kept: bytes) -> None:
        """Continue with kept names."""
        found = json.loads(kept)
        self.versions[:] = [(model, version) for model, version in found["versions"]]
        self.arms[:], self.segments[:] = found["arms"], found["segments"]


def _split(text: str) -> tuple[str, str]:
    model, _, version = text.partition("\0")
    return model, version
