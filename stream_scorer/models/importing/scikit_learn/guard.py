"""Any error about what a file contains becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stream_scorer.errors import ModelError, StreamScorerError

_CAUSE_LONGEST: Final = 200


def first_line(error: BaseException) -> str:
    """Return an error's class and the first line of its text, cut to 200 characters."""
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text[:_CAUSE_LONGEST]}"


@contextmanager
def refused_as(what: str, fix: str) -> Iterator[None]:
    """Turn errors that an unexpected value causes into a refusal.

    A model that was loaded from a file may be of a known type and still contain anything. Errors of
    the machine, ``MemoryError`` and ``OSError``, pass through.

    Args:
        what: What is refused; the error is appended in brackets.
        fix: What to do.

    Raises:
        ModelError: The block raised another error than ours or the machine's.
    """
    try:
        yield
    except (StreamScorerError, MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError(f"{what} ({first_line(error)})", fix) from error
