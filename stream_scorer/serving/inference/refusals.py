"""What the service answers instead of a result; each binding gives it the protocol's form."""

from enum import Enum

SHOWN_CHARACTERS = 64
"""Characters of a caller's text that a message repeats."""


class RefusalKind(Enum):
    """Why a request is refused."""

    INVALID = "invalid"
    UNKNOWN_MODEL = "unknown model"
    BUSY = "busy"


class InferenceRefused(Exception):  # noqa: N818 the name states what happened
    """A request that is not answered with a result.

    Args:
        kind: Decides the status of the answer.
        message: What was wrong with the request, for the caller. It has no path of the server and
            no text of another exception.
    """

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def invalid(message: str) -> InferenceRefused:
    """Build the refusal of a request that contradicts the protocol or the model."""
    return InferenceRefused(RefusalKind.INVALID, message)


def shown(text: str) -> str:
    r"""Return a caller's text for a message: quoted, in ASCII, and not longer than needed.

    >>> shown("line\nfeed")
    "'line\\nfeed'"
    """
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    return ascii(cut)
