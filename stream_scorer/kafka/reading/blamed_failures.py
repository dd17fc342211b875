"""Which failures of a computation may be the fault of its records, and their names."""

import traceback
from pathlib import Path

from confluent_kafka import KafkaException

from stream_scorer.errors import StreamScorerError
from stream_scorer.ports import Paused, TransactionAborted
from stream_scorer.redaction import redacted
from stream_scorer.terminal_text import printable

MOST_RECORDS = 8
"""Records that one batch may lose, or that are lost in a row without one that passes."""
_LONGEST_LINE = 200
_LONGEST_READ = 10 * _LONGEST_LINE
_OURS = Path(__file__).parents[2]


def blames_records(error: BaseException) -> bool:
    """Return whether a failure of the computation may be the fault of its records.

    Never: out of memory, an error of the operating system, an outage (``Paused``), an aborted
    transaction, an exception of Kafka's client, and our own errors, which have their own message
    and exit code.

    Args:
        error: The exception of the computation.
    """
    others = (
        Paused, StreamScorerError, TransactionAborted, MemoryError, OSError, KafkaException,
    )  # fmt: skip
    return isinstance(error, Exception) and not isinstance(error, others)


def kind_of(error: BaseException) -> str:
    """Return what failed and where, without the error's text, which may contain record values.

    Args:
        error: The exception of the computation.

    Returns:
        Such as ``ValueError at core/decision/policy.py:31``.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if Path(each.filename).is_relative_to(_OURS)]
    name = type(error).__name__
    if not frames:
        return name
    last = (ours or frames)[-1]
    path = Path(last.filename)
    where = path.relative_to(_OURS) if ours else path.name
    return f"{name} at {where}:{last.lineno}"


def text_of(error: BaseException) -> str:
    """Return what failed, where, and the first line of the error's text.

    The line has at most 200 characters, and those that are not printable are escaped. It may hold a
    value of a record, so it is only for failures that are the fault of no record.

    Args:
        error: What the computation raised.

    Returns:
        Such as ``ValueError at core/decision/observe.py:65: the rings do not keep mcc``.
    """
    first = next(iter(str(error).splitlines()), "")[:_LONGEST_READ]
    line = redacted(first)[:_LONGEST_LINE]
    return f"{kind_of(error)}: {printable(line)}" if line else kind_of(error)
