"""The progress of a partition's dead letters, as a committed offset with a note.

A call may take some reasons and skip others, which a later call can still take. So each reason has
a separate offset: all of its dead letters before it were handled. The smallest of them is the
group's committed offset. The note that the broker keeps with it names the reasons that are ahead::

    offset 17    {"*":900,"DUPLICATE":17}    all but duplicates up to 900; duplicates up to 17

``*`` means every reason that is not named. Without a note, for example after an operator set the
offset, all reasons are at the offset.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from stream_scorer.core.events.batch import RejectReason

OTHERS = "*"
"""Used as a reason: all that are not named."""
# The dead letter of an unreadable record has no value to copy.
_WITHHELD = frozenset({RejectReason.DUPLICATE.value, RejectReason.UNREADABLE.value})
_KNOWN = frozenset(reason.value for reason in RejectReason)


@dataclass(frozen=True, slots=True)
class Selection:
    """The dead letters that a call takes.

    Attributes:
        reasons: Of these reasons; empty for all but duplicates and unreadable ones.
    """

    reasons: frozenset[str] = frozenset()

    @property
    def named(self) -> frozenset[str]:
        """The reasons that are treated differently from the unnamed ones."""
        return self.reasons or _WITHHELD

    def takes(self, reason: str) -> bool:
        """Return whether dead letters of a reason, or of ``OTHERS``, are taken.

        >>> Selection().takes("MALFORMED"), Selection().takes("DUPLICATE")
        (True, False)
        >>> only = Selection(frozenset({"DUPLICATE"}))
        >>> only.takes("DUPLICATE"), only.takes("MALFORMED"), only.takes(OTHERS)
        (True, False, False)
        """
        return (reason in self.reasons) if self.reasons else reason not in _WITHHELD


def lane_of(reason: str) -> str:
    """Return the name under which a reason's progress is kept: ``OTHERS`` for unknown reasons.

    >>> lane_of("CURRENCY"), lane_of("a later version's")
    ('CURRENCY', '*')
    """
    return reason if reason in _KNOWN else OTHERS


@dataclass(frozen=True, slots=True)
class LetterProgress:
    """How far one partition's dead letters were handled.

    Attributes:
        positions: Next offset by reason, including ``OTHERS``.
    """

    positions: Mapping[str, int]

    @classmethod
    def at(cls, offset: int) -> "LetterProgress":
        """Return the progress with everything before an offset handled.

        >>> LetterProgress.at(17).of("DUPLICATE")
        17
        """
        return cls({OTHERS: offset})

    @classmethod
    def read(cls, offset: int, note: bytes) -> "LetterProgress":
        """Parse a committed offset and its note.

        Raises:
            ValueError: The note is not ours, or belongs to another offset.
        """
        if not note:
            return cls.at(offset)
        try:
            found = json.loads(note)
        except RecursionError:
            found = None
        sound = isinstance(found, dict) and all(type(each) is int for each in found.values())
        if not sound or OTHERS not in found or min(found.values()) != offset:
            raise ValueError(f"{note!r} is not a note to offset {offset}")
        return cls(found)

    @property
    def offset(self) -> int:
        """The oldest offset that a call may still need: the committed one."""
        return min(self.positions.values())

    @property
    def note(self) -> bytes:
        """The note for the commit; empty if it would add nothing."""
        if len(self.positions) == 1:
            return b""
        return json.dumps(self.positions, sort_keys=True, separators=(",", ":")).encode()

    def of(self, reason: str) -> int:
        """Return the offset before which all dead letters of a reason were handled."""
        return self.positions.get(reason, self.positions[OTHERS])

    def advanced(self, end: int, chosen: Selection, waiting: Mapping[str, int]) -> "LetterProgress":
        """Return the progress after everything from ``offset`` to ``end`` was read.

        Args:
            end: Next offset after the last dead letter that was read.
            chosen: The dead letters that were taken.
            waiting: The oldest skipped dead letter of each reason.

        >>> first = LetterProgress.at(0).advanced(900, Selection(), {"DUPLICATE": 17})
        >>> first.offset, first.note
        (17, b'{"*":900,"DUPLICATE":17}')
        >>> first.advanced(900, Selection(frozenset({"DUPLICATE"})), {}).note
        b''
        """
        positions = {}
        for reason in {*self.positions, *waiting, *chosen.named, OTHERS}:
            passed_over = not chosen.takes(reason) and reason in waiting
            positions[reason] = max(self.of(reason), waiting[reason] if passed_over else end)
        others = positions[OTHERS]
        return LetterProgress(
            {
                reason: position
                for reason, position in positions.items()
                if reason == OTHERS or position != others
            }
        )
