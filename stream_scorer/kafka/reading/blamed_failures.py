"""Which failures of a computation may be the fault of its records, and their names."""

import traceback
from pathlib import Path

from confluent_kafka import KafkaException

from stream_scorer.errors import StreamScorerError
from stream_scorer.ports import Paused, TransactionAborted

MOST_RECORDS = 8
"""Maximum number of records that one batch may lose, or that may be lost in a row."""
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
