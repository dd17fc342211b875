"""Why an update is refused: each attack and each fault has its own error, with a short name.

::

    EdgeUpdateError
    └── UpdateRefusedError        kind
        ├── UpdateRollbackError      rollback         older metadata than this device has seen
        ├── UpdateFreezeError        freeze           metadata that has expired
        ├── UpdateMixError           mix_and_match    metadata that does not belong together
        ├── UpdateFastForwardError   fast_forward     a version that rose by too much
        ├── UpdateEndlessDataError   endless_data     more bytes than a file may have
        ├── UpdateSlowError          slow             fewer bytes in a second than there must be
        ├── UpdateWrongKeyError      wrong_key        not signed by the keys of the role
        ├── UpdateClockError         clock            this device's clock went back
        ├── UpdateAlteredError       altered          a file is not the one that was signed
        ├── UpdateMalformedError     malformed        signed or not, it is not what it should be
        ├── UpdateGoldenError        golden           the bundle does not score as at its training
        └── UpdateUnfitError         unfit            this device cannot decide with the release

A repository that cannot be reached is not refused: :class:`~stream_scorer.errors.UnavailableError`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError

from stream_scorer.errors import EdgeError, EdgeUpdateError, UnavailableError

_KEEPS: Final = "the device keeps its release"
ROOT, TIMESTAMP, SNAPSHOT, TARGETS = ROLES = ("root", "timestamp", "snapshot", "targets")


class UpdateRefusedError(EdgeUpdateError):
    """An update is refused; the device keeps its release.

    Args:
        what: What is wrong, in one line.
        fix: What an operator can do.
    """

    kind: ClassVar[str] = ""

    def __init__(self, what: str, fix: str = _KEEPS) -> None:
        super().__init__(f"update: {self.kind}: {what}", fix)


class UpdateRollbackError(UpdateRefusedError):
    """The repository offers older metadata than this device has seen."""

    kind = "rollback"


class UpdateFreezeError(UpdateRefusedError):
    """The repository offers metadata that has expired."""

    kind = "freeze"


class UpdateMixError(UpdateRefusedError):
    """The repository offers metadata that was never published together."""

    kind = "mix_and_match"


class UpdateFastForwardError(UpdateRefusedError):
    """A version rose by more than ``edge.update.version_jump_most``."""

    kind = "fast_forward"


class UpdateEndlessDataError(UpdateRefusedError):
    """A file has more bytes than it may have."""

    kind = "endless_data"


class UpdateSlowError(UpdateRefusedError):
    """A file, or all metadata together, took too long."""

    kind = "slow"


class UpdateWrongKeyError(UpdateRefusedError):
    """Metadata is not signed by enough of the keys of its role."""

    kind = "wrong_key"


class UpdateClockError(UpdateRefusedError):
    """This device's clock is earlier than at an earlier check, so no expiry can be judged."""

    kind = "clock"


class UpdateAlteredError(UpdateRefusedError):
    """A file of the release is not the one that was signed."""

    kind = "altered"


class UpdateMalformedError(UpdateRefusedError):
    """Metadata or a document of the repository is not what it should be."""

    kind = "malformed"


class UpdateGoldenError(UpdateRefusedError):
    """The bundle of the release does not score as at its training."""

    kind = "golden"


class UpdateUnfitError(UpdateRefusedError):
    """This device cannot decide with the release."""

    kind = "unfit"


@contextmanager
def refused(asked_for: Callable[[], str]) -> Iterator[None]:
    """Turn the errors of the TUF client and of this device's disk into ours.

    Args:
        asked_for: Returns the role of the metadata that was asked for last, or the path of a
            target.

    Raises:
        UpdateRefusedError: Something is wrong with what the repository offers.
        UnavailableError: It does not answer.
        EdgeError: This device's files cannot be written.
    """
    try:
        yield
    except RepositoryError as error:
        raise _refusal(error, asked_for()) from error
    except DownloadLengthMismatchError as error:
        raise UpdateEndlessDataError(f"{asked_for()}: {error}") from error
    except SlowRetrievalError as error:
        raise UpdateSlowError(f"{asked_for()}: {error}") from error
    except DownloadError as error:
        raise UnavailableError(
            f"update: {asked_for()}: {error}", "see whether the repository is served"
        ) from error
    except OSError as error:
        raise EdgeError(
            f"update: {error.filename or 'the folder'}: {error.strerror or error}",
            "free space, or let this user write edge.directory",
        ) from error


def _refusal(error: RepositoryError, asked_for: str) -> UpdateRefusedError:
    what = f"{asked_for}: {str(error) or 'is not accepted'}"
    kind = next((ours for theirs, ours in _SAME if isinstance(error, theirs)), UpdateMalformedError)
    if isinstance(error, BadVersionNumberError):
        kind = _COMPARED.get(asked_for, UpdateMalformedError)
    elif isinstance(error, LengthOrHashMismatchError):
        kind = UpdateMixError if asked_for in ROLES else UpdateAlteredError
    elif type(error) is RepositoryError and asked_for == SNAPSHOT:
        # A snapshot that leaves out metadata is of another repository, or of an earlier time.
        kind = UpdateMixError
    return kind(what)


_SAME: Final[tuple[tuple[type[RepositoryError], type[UpdateRefusedError]], ...]] = (
    (UnsignedMetadataError, UpdateWrongKeyError),
    (ExpiredMetadataError, UpdateFreezeError),
    (DeserializationError, UpdateMalformedError),
)
_COMPARED: Final[Mapping[str, type[UpdateRefusedError]]] = {
    ROOT: UpdateRollbackError,
    TIMESTAMP: UpdateRollbackError,
    SNAPSHOT: UpdateMixError,
    TARGETS: UpdateMixError,
}
"""What a wrong version means. That of a root or a timestamp is compared with what this device has
seen; that of the others with the timestamp and the snapshot of the same check."""
