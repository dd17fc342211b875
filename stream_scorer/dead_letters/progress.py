"""Which dead letters of a partition were dealt with, as a committed offset and a note beside it.

A call may take some reasons and pass over others, which a later call can still take. So each
reason has an offset of its own: all of its dead letters before it were dealt with. The least of
them is the group's committed offset, and the note that the broker keeps beside it names those
that are ahead::

    offset 17    {"*":900,"DUPLICATE":17}    all but duplicates, up to 900; of those none from 17 on

``*`` stands for every reason that is not named. Without a note, as after somebody set the offset
by hand, all reasons stand at the offset.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from stream_scorer.core.events.batch import RejectReason

OTHERS = "*"
"""In the place of a reason: all that are not named."""
# Of what is unreadable, the dead letter has no value to copy.
_WITHHELD = frozenset({RejectReason.DUPLICATE.value, RejectReason.UNREADABLE.value})
_KNOWN = frozenset(reason.value for reason in RejectReason)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters a call takes.

    Attributes:
        reasons: Of these reasons; empty for all but duplicates and unreadable ones.
    """

    reasons: frozenset[str] = frozenset()

    @property
    def named(self) -> frozenset[str]:
        """The reasons that are treated otherwise than those that are not named."""
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
    """Return the name that a reason's progress is kept under: ``OTHERS`` for what we do not know.

    >>> lane_of("CURRENCY"), lane_of("a later version's")
    ('CURRENCY', '*')
    """
    return reason if reason in _KNOWN else OTHERS


@dataclass(frozen=True, slots=True)
class LetterProgress:
    """How far one partition's dead letters were dealt with.

    Attributes:
        positions: Next offset by reason; ``OTHERS`` is among them.
    """

    positions: Mapping[str, int]

    @classmethod
    def at(cls, offset: int) -> "LetterProgress":
        """Return that everything before an offset was dealt with.

        >>> LetterProgress.at(17).of("DUPLICATE")
        17
        """
        return cls({OTHERS: offset})

    @classmethod
    def read(cls, offset: int, note: bytes) -> "LetterProgress":
        """Return what a committed offset and its note say.

        Raises:
            ValueError: The note is none of ours, or another offset's.
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
        """The oldest offset that a call may still want: what is committed."""
        return min(self.positions.values())

    @property
    def note(self) -> bytes:
        """What is committed beside it; empty where it says no more."""
        if len(self.positions) == 1:
            return b""
        return json.dumps(self.positions, sort_keys=True, separators=(",", ":")).encode()

    def of(self, reason: str) -> int:
        """Return the offset before which all dead letters of a reason were dealt with."""
        return self.positions.get(reason, self.positions[OTHERS])

    def advanced(self, end: int, chosen: Selection, waiting: Mapping[str, int]) -> "LetterProgress":
        """Return where the reasons stand after everything from ``offset`` to ``end`` was looked at.

        Args:
            end: Behind the last dead letter that was looked at.
            chosen: What was taken.
            waiting: The oldest dead letter of each reason that was passed over.

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
