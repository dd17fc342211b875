"""Attempts: how often processes began a batch and never committed it, kept by the broker.

::

    assigned ─► note read ─► fewer than 3 attempts ─► the first batch: note + 1, committed alone
                    │                                        │ committed: the note goes
                    └ 3: stop, name the offsets              └ the process dies: the note stays

A process that is killed, or that crashes in a compiled kernel, reports nothing. So before it
computes its first batch of a partition, it commits a note with the partition's unchanged offset.
After each crash the following batches are smaller, down to one record: then the committed offset
is that record's. One record at a time is slow, so it lasts only for the records that the crashed
process can have held, and no other partition is read meanwhile. Whenever the committed offset
moves, the count starts again, so that only crashes at the same record stop the group. See
docs/adr/0067-attempts.md.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import stream_scorer
from stream_scorer.errors import CrashLoopError

MOST_ATTEMPTS = 3
"""After so many attempts without a commit, no process begins a batch at that offset again."""
_RECORDS = (1 << 30, 64, 1)
"""Maximum number of records of a batch after no crash, one crash, more crashes at its offsets."""
_SINGLY = 2 * _RECORDS[1]
"""Records that are taken one by one: a crashed process held two batches, one computed ahead."""


@dataclass(frozen=True, slots=True)
class Note:
    """The note that the broker keeps with a partition's committed offset.

    Attributes:
        attempts: Processes that began a batch at the committed offset and committed none.
        end: Next offset after the batch of the first of them.
        level: Batch size of the last of them: 0, 1 or 2, an index of ``_RECORDS``.
        version: Program version of the attempts; another version starts the count again.
    """

    attempts: int
    end: int
    level: int
    version: str = stream_scorer.__version__

    def write(self) -> bytes:
        """Return the note as bytes."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def read(cls, text: bytes) -> "Note | None":
        """Parse a note; None if it is not ours, or of another version.

        >>> Note.read(Note(2, 17, 1).write())
        Note(attempts=2, end=17, level=1, version='0.1.0')
        >>> Note.read(b"")
        """
        try:
            found = json.loads(text)
            note = cls(found["attempts"], found["end"], found["level"], found["version"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        sound = all(type(number) is int for number in (note.attempts, note.end, note.level))
        sound = sound and 0 <= note.level < len(_RECORDS)
        return note if sound and note.version == stream_scorer.__version__ else None


class Attempts:
    """The notes of the partitions that a process holds.

    Args:
        guarded: Whether notes are kept at all.
        takes: Whether ``dlq take`` can take a record of this topic: only of the scorers' input.
    """

    def __init__(self, *, guarded: bool, takes: bool = True) -> None:
        self._guarded = guarded
        self._takes = takes
        self._noted: dict[int, Note] = {}
        self._singly: dict[int, int] = {}
        self._unmarked: set[int] = set()

    def begin(self, offsets: Mapping[int, int], notes: Mapping[int, bytes]) -> None:
        """Add partitions.

        Args:
            offsets: Their committed offsets.
            notes: The broker's notes with these offsets.

        Raises:
            CrashLoopError: Too many processes ended at one of them.
        """
        if not self._guarded:
            return
        for partition, offset in offsets.items():
            self._unmarked.add(partition)
            self._noted.pop(partition, None)
            note = Note.read(notes.get(partition, b""))
            if note is None or note.end <= offset:
                continue
            if note.attempts >= MOST_ATTEMPTS:
                raise self._crash_loop(partition, offset, note)
            self._noted[partition] = replace(note, level=min(note.level + 1, len(_RECORDS) - 1))
            self._singly[partition] = _SINGLY

    def _crash_loop(self, partition: int, offset: int, note: Note) -> CrashLoopError:
        if self._takes:
            what, fix = (
                "input",
                f"stop the group, then `stream-scorer dlq take {partition} {offset}`",
            )
        else:
            what = "their topic's"
            fix = "`dlq take` does not help here: report this line, and run the previous version"
        return CrashLoopError(
            f"{note.attempts} processes ended while they computed {what} partition "
            f"{partition} offsets {offset} to {note.end - 1}; the next record is at {offset} or "
            "later",
            f"{fix}; see docs/RUNBOOK.md, section 'The scorer left with exit code 14'",
        )

    def end(self, partitions: Iterable[int]) -> None:
        """Forget partitions that left."""
        for partition in partitions:
            self._unmarked.discard(partition)
            self._noted.pop(partition, None)

    def forgotten(self, partitions: Iterable[int]) -> dict[int, bytes]:
        """Return the empty notes to commit for partitions that this process leaves alive.

        Args:
            partitions: About to leave; those without a note are ignored.
        """
        return {partition: b"" for partition in partitions if partition in self._noted}

    def most(self, maximum: int, reading: Collection[int]) -> int:
        """Return the maximum number of records of the next batch.

        Args:
            maximum: The limit without earlier attempts.
            reading: The partitions that the batch can have records of.
        """
        return min([maximum, *self._limits(reading).values()])

    def singly(self, reading: Collection[int]) -> frozenset[int]:
        """Return the partitions whose records are taken one by one.

        Args:
            reading: As for :meth:`most`.
        """
        return frozenset(p for p, records in self._limits(reading).items() if records == 1)

    def _limits(self, reading: Collection[int]) -> dict[int, int]:
        """Return the maximum number of records of a batch, by partition with a note."""
        noted = self._noted.items()
        return {p: _RECORDS[note.level] for p, note in noted if p in reading}

    def unmarked(self, ends: Mapping[int, int]) -> bool:
        """Whether a batch that ends at these offsets must be marked before it is computed."""
        return bool(self._unmarked) and not self._unmarked.isdisjoint(ends)

    def marks(self, ends: Mapping[int, int]) -> dict[int, bytes]:
        """Return the notes to commit before a batch is computed, by partition.

        Args:
            ends: The next offset by partition after the batch.
        """
        return {
            partition: self._marked(partition, ends[partition]).write()
            for partition in self._unmarked & ends.keys()
        }

    def _marked(self, partition: int, end: int) -> Note:
        before = self._noted.get(partition, Note(0, 0, 0))
        return replace(before, attempts=before.attempts + 1, end=max(before.end, end))

    def marked(self, ends: Mapping[int, int]) -> None:
        """Note that the marks are committed."""
        for partition in self._unmarked & ends.keys():
            self._noted[partition] = self._marked(partition, ends[partition])
            self._unmarked.discard(partition)

    def _staying(self, ends: Mapping[int, int]) -> dict[int, Note]:
        """Return the notes that stay valid when these offsets are committed.

        This process attempts the next batch too, and the attempts before it were at other offsets.
        """
        return {
            partition: replace(note, attempts=1)
            for partition, note in self._noted.items()
            if partition in ends and ends[partition] < note.end
        }

    def carried(self, ends: Mapping[int, int]) -> dict[int, bytes]:
        """Return the notes to commit again together with these offsets."""
        return {partition: note.write() for partition, note in self._staying(ends).items()}

    def passed(self, ends: Mapping[int, int]) -> None:
        """Note that offsets are committed: records before them are no longer suspected."""
        others = {p: note for p, note in self._noted.items() if p not in ends}
        staying = self._staying(ends)
        for partition, note in staying.items():
            if _RECORDS[note.level] == 1:
                self._singly[partition] -= 1
                if not self._singly[partition]:
                    staying[partition] = replace(note, level=note.level - 1)
        self._noted = others | staying
