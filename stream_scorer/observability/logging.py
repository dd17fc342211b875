"""JSON lines on stderr through structlog, one logger per process and nothing global.

Normal operation logs nothing: a line is for a person who must act. Every line has ``event``,
``level``, ``timestamp`` (UTC) and the process's bound values.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from pydantic import SecretStr
from structlog.typing import FilteringBoundLogger, WrappedLogger

from stream_scorer.redaction import MASK, names_secret, redacted


def process_logger(
    process: str, instance: str = "0", stream: TextIO | None = None
) -> FilteringBoundLogger:
    """Return the logger of one process.

    Args:
        process: Kind of process: scorer, monitor, ...
        instance: Its stable name.
        stream: Where lines are written; default stderr.
    """
    wrapped = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(),
            redact,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    logger: FilteringBoundLogger = wrapped.bind(process=process, instance=instance)
    return logger


def redact(
    logger: WrappedLogger, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask secrets in a line: by the name of a key, by type, and inside texts."""
    del logger, method
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: str, value: object) -> object:
    if isinstance(value, SecretStr) or names_secret(key):
        return MASK
    if isinstance(value, Mapping):
        return {inner: _masked(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", part) for part in value]
    if isinstance(value, str):
        return redacted(value)
    return value
