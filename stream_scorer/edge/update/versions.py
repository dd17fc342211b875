"""``versions.json``: the highest version of each role that this device has accepted.

The TUF client keeps metadata in a folder of its own, but does not sync it, and takes a damaged file
for one that never was. So a power cut could end the protection against older metadata. This file
is synced, replaced in one step, and refused if it is damaged.

A version counts for the keys that the role had. After a rotation of its keys a role begins anew:
so an operator recovers from versions that a thief of the old keys raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from stream_scorer.durable_files import PRIVATE, replace_file
from stream_scorer.edge.update.refusals import (
    ROLES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    UpdateClockError,
    UpdateFastForwardError,
    UpdateRollbackError,
)
from stream_scorer.errors import EdgeError
from stream_scorer.security.canonical_json import canonical, parse

CLOCK_SECONDS: Final = 3_600
"""By how much this device's clock may be earlier than at an earlier check."""
_BYTES_MOST: Final = 64 * 1024
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class RoleVersion:
    """An accepted version.

    Attributes:
        version: Of the metadata.
        keys: Ids of the keys that the role had.
    """

    version: int
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class SeenVersions:
    """What this device has accepted.

    Attributes:
        roles: The highest version of each role.
        seconds: When it was last accepted, by this device's clock, since the epoch.
    """

    roles: Mapping[str, RoleVersion] = field(default_factory=dict)
    seconds: int = 0

    def kept(self, role: str, keys: frozenset[str]) -> int:
        """Return the highest accepted version of a role under its present keys; 0 if none.

        A root is followed from version to version, so its versions count for all keys.
        """
        found = self.roles.get(role)
        return 0 if found is None or (role != ROOT and found.keys != keys) else found.version


class VersionsFile:
    """The file, and the judgement of versions by it.

    Args:
        path: The file.
        metadata: The folder of the TUF client in this check.
        jump_most: Most by which a version may rise.
        expected: Whether the file must be there, because metadata were accepted.

    Attributes:
        seen: What was accepted.

    Raises:
        EdgeError: The file is damaged, or missing though it is expected.
    """

    def __init__(self, path: Path, metadata: Path, jump_most: int, *, expected: bool) -> None:
        self._path = path
        self._metadata = metadata
        self._jump_most = jump_most
        self.seen = _read(path, expected=expected)

    def refuse_clock(self, now: float) -> None:
        """Refuse to judge expiry by a clock that went back.

        Raises:
            UpdateClockError: It is more than an hour earlier than at an earlier check.
        """
        back = self.seen.seconds - now
        if back > CLOCK_SECONDS:
            raise UpdateClockError(
                f"this device's clock is {back / 3_600:.1f} h earlier than at the last check",
                "set the clock",
            )

    def admit(self, role: str, data: bytes) -> None:
        """Judge metadata before the TUF client keeps it; what is not signed is left to the client.

        Raises:
            UpdateRollbackError: It states an older version than this device has accepted.
            UpdateFastForwardError: It states a version that is higher by too much.
        """
        if role not in {TIMESTAMP, SNAPSHOT}:
            return
        root = self._root()
        signed = _signed(root, role, data)
        if isinstance(signed, Timestamp):
            self._judge(ROOT, root, root.version)
            self._judge(TIMESTAMP, root, signed.version)
            self._judge(SNAPSHOT, root, signed.snapshot_meta.version)
        elif isinstance(signed, Snapshot) and (targets := signed.meta.get("targets.json")):
            self._refuse_jump(TARGETS, root, targets.version)

    def refuse_older(self) -> None:
        """Judge the metadata that the TUF client has accepted.

        Raises:
            UpdateRollbackError: One is older than this device had accepted.
            UpdateFastForwardError: A version is higher by too much.
        """
        root = self._root()
        for role in ROLES:
            self._judge(role, root, self._accepted(role))

    def settle(self, now: float) -> None:
        """Note the versions that are accepted, durably.

        Args:
            now: Seconds since the epoch.

        Raises:
            OSError: The file cannot be written.
        """
        root = self._root()
        roles = {role: RoleVersion(self._accepted(role), _keys(root, role)) for role in ROLES}
        # A clock that is a little earlier does not let the time of the last check go back.
        self.seen = SeenVersions(roles, max(int(now), self.seen.seconds))
        replace_file(self._path, _document(self.seen), PRIVATE)

    def _judge(self, role: str, root: Root, version: int) -> None:
        kept = self.seen.kept(role, _keys(root, role))
        if version < kept:
            raise UpdateRollbackError(f"{role}: version {version}, this device has seen {kept}")
        self._refuse_jump(role, root, version)

    def _refuse_jump(self, role: str, root: Root, version: int) -> None:
        kept = self.seen.kept(role, _keys(root, role))
        if kept and version > kept + self._jump_most:
            raise UpdateFastForwardError(
                f"{role}: version {version}, this device has seen {kept}",
                "rotate its key: edge publish rotate; or raise edge.update.version_jump_most",
            )

    def _root(self) -> Root:
        signed = Metadata.from_bytes((self._metadata / "root.json").read_bytes()).signed
        if not isinstance(signed, Root):
            raise EdgeError(f"{self._metadata}/root.json: is not a root", _FIX)
        return signed

    def _accepted(self, role: str) -> int:
        data = (self._metadata / f"{role}.json").read_bytes()
        return int(Metadata.from_bytes(data).signed.version)


_FIX: Final = "provision the device again"


def _signed(root: Root, role: str, data: bytes) -> object:
    """Return the content of metadata; None if it is not signed, which the client will refuse."""
    try:
        found: Metadata[Any] = Metadata.from_bytes(data)
        root.verify_delegate(role, found.signed_bytes, found.signatures)
    except RepositoryError:
        return None
    return found.signed


def _keys(root: Root, role: str) -> frozenset[str]:
    return frozenset(root.roles[role].keyids)


def _document(seen: SeenVersions) -> bytes:
    roles = {role: [each.version, sorted(each.keys)] for role, each in seen.roles.items()}
    return canonical({"format": _FORMAT, "roles": roles, "seconds": seen.seconds})


def _read(path: Path, *, expected: bool) -> SeenVersions:
    try:
        data = path.read_bytes()[: _BYTES_MOST + 1]
    except FileNotFoundError:
        if not expected:
            return SeenVersions()
        raise _damaged(path, "it is missing") from None
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}", "let this user read it") from error
    try:
        document = parse(data)
        read = SeenVersions(
            {
                role: RoleVersion(int(version), frozenset(map(str, keys)))
                for role, (version, keys) in document["roles"].items()
            },
            int(document["seconds"]),
        )
        if _document(read) != data:
            raise ValueError("is not in its canonical form")  # noqa: TRY301 one handler for all faults
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    return read


def _damaged(path: Path, why: str) -> EdgeError:
    return EdgeError(
        f"{path}: is damaged ({why})",
        "without it an older release may be installed; only if you accept that, remove it and the "
        "folder metadata next to it",
    )
