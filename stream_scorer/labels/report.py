"""What ``labels import`` reports."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import of labels.

    Attributes:
        rows: Rows of the file.
        sent: Labels that were sent now.
        already_there: Rows whose labels were in the topic before, by an earlier call or another
            sender.
        foreign: Rows whose transaction no decision names.
        ambiguous: Rows whose transaction id is that of several transactions.
        invalid: Rows that are not labels: a missing id, an unknown state, an impossible time.
        seconds: Time that it took.
        examples: By ``foreign`` and ``ambiguous``, the first 20 ids; by ``invalid``, the first 20
            rows, each as ``ROW: why``.
    """

    rows: int
    sent: int
    already_there: int
    foreign: int
    ambiguous: int
    invalid: int
    seconds: float
    examples: Mapping[str, tuple[str, ...]]
