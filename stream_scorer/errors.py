"""The errors that a user can see, and the exit code of each.

::

    StreamScorerError                1   anything below; one line that names the thing and the fix
    ├── SettingsError                2   a setting, flag, plan or file argument is wrong
    ├── ModelError                   3   a bundle is refused: hash, type, version, feature list
    ├── SchemaError                  4   a schema is unreadable, unknown or incompatible
    ├── UnavailableError             5   broker, registry or files cannot be reached; try again
    │   └── RegistryUnavailableError     the registry alone: the scorer pauses and retries
    ├── FencedError                  6   another process runs under this transactional id
    ├── OffsetsError                 7   committed offsets and retained input do not fit together
    ├── TransactionError             8   the broker refused in a way that no retry fixes
    ├── StateError                   9   the checkpoint does not fit input, group or engine
    ├── NotWarmError                10   history is missing for the model's features
    ├── RolloutError                11   a rollout command is refused, or its log is not complete
    ├── AuditError                  12   the audit log is not what was written
    ├── ReproductionError           13   past decisions differ from the recomputed ones
    ├── CrashLoopError              14   processes end each time they compute the same records
    ├── EdgeError                   15   a device's files or state, an export, or a claim is wrong
    ├── EdgeUpdateError             16   an update over the air is refused
    └── EdgeRevokedError            17   an operator revoked this device
"""

from typing import ClassVar, Self

from stream_scorer.redaction import redacted


class StreamScorerError(Exception):
    """A failure that names the thing that is wrong and how to fix it; secrets are masked in it.

    Args:
        what: One line that names the thing.
        fix: What the reader can do about it; joined to ``what`` by a colon-free dash.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, fix: str = "") -> None:
        what = redacted(what)
        super().__init__(f"{what} — {fix}" if fix else what)
        self.what = what
        self.fix = fix

    def as_value(self) -> Self:
        """Return the error without traceback and context, to be stored and not raised.

        A traceback refers to every frame on its way, and so to all objects in these frames. If the
        error is stored in a batch, that includes the batch: a cycle that only the garbage collector
        frees.
        """
        self.__context__ = None
        return self.with_traceback(None)


class SettingsError(StreamScorerError):
    """A setting, flag, plan or file argument is wrong."""

    exit_code = 2


class ModelError(StreamScorerError):
    """A model bundle is refused."""

    exit_code = 3


class SchemaError(StreamScorerError):
    """A schema is unreadable, unknown or incompatible."""

    exit_code = 4


class UnavailableError(StreamScorerError):
    """A broker, a registry or a file store cannot be reached, or its disk is full."""

    exit_code = 5


class RegistryUnavailableError(UnavailableError):
    """The schema registry cannot be reached: an outage, never the record's fault."""


class FencedError(StreamScorerError):
    """Another process runs under the same transactional id; this one must not be restarted."""

    exit_code = 6


class OffsetsError(StreamScorerError):
    """The group's committed offsets and the retained input do not fit together."""

    exit_code = 7


class TransactionError(StreamScorerError):
    """The broker refused a transaction in a way that no retry fixes."""

    exit_code = 8


class StateError(StreamScorerError):
    """The checkpoint does not fit the input, the group's offsets, the partitions or the engine."""

    exit_code = 9


class NotWarmError(StreamScorerError):
    """History is missing for the model's features, and that was not accepted."""

    exit_code = 10


class RolloutError(StreamScorerError):
    """A rollout command is refused, or the control log cannot be folded."""

    exit_code = 11


class AuditError(StreamScorerError):
    """The audit log is not what was written: altered, cut, reordered, or with an unknown key."""

    exit_code = 12


class ReproductionError(StreamScorerError):
    """Past decisions differ from the recomputed ones, or cannot be recomputed."""

    exit_code = 13


class CrashLoopError(StreamScorerError):
    """Several processes ended while they computed the same records; none tries again by itself."""

    exit_code = 14


class EdgeError(StreamScorerError):
    """A device's files or state are wrong, or something cannot be exported to a device."""

    exit_code = 15


class EdgeUpdateError(StreamScorerError):
    """An update over the air is refused; the device keeps its release."""

    exit_code = 16


class EdgeRevokedError(StreamScorerError):
    """An operator revoked this device; it must not be restarted."""

    exit_code = 17
