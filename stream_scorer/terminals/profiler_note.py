"""What the profiler's commits store with the offsets, for its next start."""

from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import StateError

_NOTE: Final = b"1"
_NOTE_BEFORE: Final = b"2"


@dataclass(frozen=True, slots=True)
class ProfilerNote:
    """What a commit stores with a partition's offset.

    Attributes:
        first: Oldest pending offset.
        newest: Newest event time, ms.
        heard: Newest Kafka timestamp, ms.
        watermark: Rows up to this event time are published, ms.
        before: Newest event time before the oldest pending offset, ms; None: not needed, as no
            plan has a label policy.
    """

    first: int
    newest: int
    heard: int
    watermark: int
    before: int | None = None

    def write(self) -> bytes:
        """Return the note as bytes."""
        numbers = [self.first, self.newest, self.heard, self.watermark]
        version = _NOTE
        if self.before is not None:
            version = _NOTE_BEFORE
            numbers.append(self.before)
        return b" ".join((version, *(b"%d" % number for number in numbers)))

    @classmethod
    def read(cls, note: bytes, where: str) -> "ProfilerNote":
        """Parse a note.

        Raises:
            StateError: It is not the profiler's, or of a later version.
        """
        version, *numbers = note.split(b" ")
        if version not in (_NOTE, _NOTE_BEFORE):
            raise StateError(
                f"{where}: the committed offset is another program's, without the profiler's note",
                "see docs/RUNBOOK.md, section 'The profiler cannot continue where it was'",
            )
        return cls(*map(int, numbers))
