"""A checkpoint store in memory, and one that can be made to fail."""

from collections.abc import Iterator, Sequence

from stream_scorer.errors import UnavailableError
from stream_scorer.ports import StoredRecords


class MemoryStore:
    """Keeps every record ever written, oldest first, as a topic does.

    Attributes:
        samples: How often ``sample`` was called.
    """

    def __init__(self, *, transactional: bool = True) -> None:
        self.transactional = transactional
        self.topic = "state" if transactional else ""
        self.records: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
        self.down = ""
        self.samples = 0

    def _ask(self) -> None:
        if self.down:
            raise UnavailableError(self.down)

    def read(self, partition: int) -> Iterator[StoredRecords]:
        self._ask()
        records = list(self.records.get(partition, []))
        for at in range(0, len(records), 100):
            self._ask()
            yield records[at : at + 100]

    def sample(self) -> StoredRecords:
        self._ask()
        self.samples += 1
        return [records[0] for _, records in sorted(self.records.items()) if records]

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        self._ask()
        self.records.setdefault(partition, []).extend(records)
