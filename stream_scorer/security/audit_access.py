"""The audit log of the settings: commands that change a model write it, auditors read it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream_scorer import settings
from stream_scorer.errors import AuditError, SettingsError, UnavailableError
from stream_scorer.security import audit_verify
from stream_scorer.security.audit import AuditLog
from stream_scorer.security.audit_files import files_of
from stream_scorer.security.audit_lines import AuditLine
from stream_scorer.security.audit_verify import AuditVerification, Signers, lines_of
from stream_scorer.security.keys import key_id, read_public, signing_key

_HASH = re.compile("[0-9a-f]{64}")


class AuditTrail:
    """Records who did what; without a log it records nothing.

    Args:
        log: The log.
    """

    def __init__(self, log: AuditLog | None = None) -> None:
        self._log = log

    def record(
        self,
        action: str,
        subject: str,
        details: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> None:
        """Write a line before what it reports is done; see :meth:`AuditLog.record`."""
        if self._log is not None:
            self._log.record(action, subject, details, actor)


def open_audit(audit: settings.Audit) -> AuditTrail:
    """Return the log of the settings for writing; without one, a trail that records nothing.

    Raises:
        SettingsError: Its folder does not exist, or the key cannot be read.
    """
    if audit.path is None:
        return AuditTrail()
    if not audit.path.parent.is_dir():
        raise SettingsError(
            f"setting audit.path: {audit.path.parent} is not a folder", "make it: mkdir -p"
        )
    key = signing_key(audit.key, audit.passphrase)
    return AuditTrail(AuditLog(audit.path, key, audit.rotate_bytes))


def verify(
    audit: settings.Audit,
    file: Path | None = None,
    expect: str | None = None,
    after: str | None = None,
) -> AuditVerification:
    """Verify that a log is unchanged.

    Args:
        audit: The log, and the keys whose signatures count.
        file: Another log than that of the settings.
        expect: Hash of a line that was noted elsewhere.
        after: Hash of the last archived line.

    Raises:
        SettingsError: There is no such log, a hash is invalid, or a key cannot be read.
        UnavailableError: A file cannot be read.
    """
    for option, value in (("--expect", expect), ("--after", after)):
        if value is not None and _HASH.fullmatch(value) is None:
            raise SettingsError(f"{option}: {value!r} is not a hash", "give 64 hex digits")
    path = _there(audit, file)
    try:
        return audit_verify.verify(path, _signers(audit), expect, after)
    except OSError as error:
        raise _unreadable(path, error) from error


def refuse_faults(found: AuditVerification) -> None:
    """Raise if a verification has found faults.

    Raises:
        AuditError: It names the first fault.
    """
    if not found.faults:
        return
    others = len(found.faults) + found.more - 1
    raise AuditError(
        f"audit log: {found.faults[0]}" + (f", and {others} faults more" if others else ""),
        "keep the files as they are, and compare them with a copy from elsewhere",
    )


def shown(
    audit: settings.Audit, file: Path | None, action: str | None, subject: str | None, last: int
) -> list[AuditLine]:
    """Return the newest matching lines, oldest first, without verification; see ``verify``.

    Args:
        audit: The log.
        file: Another log than that of the settings.
        action: Only lines whose action is this, or begins with this and a full stop.
        subject: Only lines with this subject.
        last: Maximum number of lines.

    Raises:
        SettingsError: There is no such log.
        UnavailableError: A file cannot be read.
    """
    path = _there(audit, file)
    found: list[AuditLine] = []
    try:
        for line in _fitting(path, action, subject):
            found.append(line)
            del found[:-last]
    except OSError as error:
        raise _unreadable(path, error) from error
    return found


def _fitting(path: Path, action: str | None, subject: str | None) -> Iterator[AuditLine]:
    for line in lines_of(path):
        of_it = action is None or f"{line.deed.action}.".startswith(f"{action}.")
        if of_it and subject in {None, line.deed.subject}:
            yield line


def _there(audit: settings.Audit, file: Path | None) -> Path:
    path = file or audit.path
    if path is None:
        raise SettingsError("no audit log is named", "set audit.path, or give --file")
    if not files_of(path):
        raise SettingsError(f"audit log {path}: is not there", "name another: --file")
    return path


def _signers(audit: settings.Audit) -> Signers:
    keys = {}
    for name, value in audit.trusted_keys.items():
        key = read_public(value, f"setting audit.trusted_keys.{name}")
        keys[key_id(key)] = (name, key)
    return Signers(keys, audit.require_signature)


def _unreadable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"audit log {path}: {error.strerror or error}", "let this user read its files"
    )
