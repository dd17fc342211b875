"""Which failures of a computation may be the fault of its records, and how they are named."""

import traceback
from pathlib import Path

from confluent_kafka import KafkaException

from stream_scorer.errors import StreamScorerError
from stream_scorer.ports import Paused, TransactionAborted

MOST_RECORDS = 8
"""Records that one batch may lose, or that are lost in a row without one that passes."""
_OURS = Path(__file__).parents[2]


def blames_records(error: BaseException) -> bool:
    """Whether a failure of the computation may be the fault of its records.

    Never: no memory, the operating system, an outage (``Paused``), an aborted transaction, what
    Kafka's client raises, and our own errors, each of which says what is wrong and has an exit
    code.

    Args:
        error: What the computation raised.
    """
    others = (
        Paused, StreamScorerError, TransactionAborted, MemoryError, OSError, KafkaException,
    )  # fmt: skip
    return isinstance(error, Exception) and not isinstance(error, others)


def kind_of(error: BaseException) -> str:
    """Return what failed and where, without the error's text, which may hold values of the record.

    Args:
        error: What the computation raised.

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
