"""What the rules for the quality of the input find."""

from dataclasses import dataclass
from typing import ClassVar, Final

REJECTED: Final = "rejected"
"""In place of a segment: the fault is of rejected records, which are in no segment."""


@dataclass(frozen=True, slots=True)
class QualityFault:
    """A fault of the input in one window: it begins, lasts or is over.

    Attributes:
        name: ``unit_change``, ``schema_change``, ``missing``, ``new_value``, ``volume``,
            ``lateness``, ``duplicates`` or ``rejects``.
        field: The field with the fault, such as ``amount``; the reason for ``rejects``; empty for
            the input.
        segment: Name of a segment, ``all``, or ``rejected``.
        window_start: Start of the window, ms since the epoch.
        window_end: End of the window, likewise.
        value: The window's value.
        usual: The value that is usual.
        evidence: By how much the rule's limit is exceeded: value / limit.
        open: Whether the fault exists; False when it is over.
    """

    retrains: ClassVar[bool] = False
    """A fault never starts a training: its data are wrong."""

    name: str
    field: str
    segment: str
    window_start: int
    window_end: int
    value: float
    usual: float
    evidence: float
    open: bool
