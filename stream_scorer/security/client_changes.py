"""Changes of the API's clients, each with a line in the audit log.

The line is written first: a change without a record would be worse than a record without a change.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from stream_scorer.errors import SettingsError
from stream_scorer.security.api_keys import NewKey, generate_key
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.security.clients import KEYS_MOST, NAME_PATTERN, ApiClient, ClientKey
from stream_scorer.security.clients_file import changing, load_clients

_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class ClientChanges:
    """Changes one file of clients.

    Attributes:
        path: The file; ``add`` makes it if it is not there.
        audit: Records each change.
    """

    path: Path
    audit: AuditTrail

    def add(
        self,
        name: str,
        *,
        with_key: bool = True,
        key_expires: datetime | None = None,
        **fields: Any,
    ) -> NewKey | None:
        """Add a client with a new key.

        Args:
            name: 1 to 64 letters, digits, dots, hyphens and underscores.
            with_key: False: it has no key, and a certificate authenticates it.
            key_expires: When the key expires; None: never.
            fields: Of :class:`ApiClient`, without its keys.

        Raises:
            SettingsError: It is there already, or a value is wrong; nothing is changed.
            UnavailableError: The file or the audit log cannot be written.
        """
        _refuse_name(name)
        made = generate_key() if with_key else None
        keys = () if made is None else (_entry(made, key_expires),)
        if made is None and not fields.get("certificate_subjects"):
            raise SettingsError(
                f"client {name}: has no key and no certificate", "give --certificate-subject"
            )
        with changing(self.path) as (clients, replace):
            if name in clients:
                raise SettingsError(
                    f"client {name}: is there already", "give it a new key: clients rotate"
                )
            client = clients[name] = _client(name, fields | {"keys": keys})
            details = {"key": made and made.id, "scopes": sorted(client.scopes)}
            replace(lambda: self.audit.record("client.add", name, details))
        return made

    def rotate(
        self, name: str, *, overlap: timedelta, key_expires: datetime | None = None
    ) -> NewKey:
        """Give a client a new key; its old one stays valid for a while.

        Args:
            name: The client's.
            overlap: How long the old key stays valid; 0: it is removed now.
            key_expires: When the new key expires; None: never.

        Raises:
            SettingsError: There is no such client, or it has two valid keys; nothing is changed.
            UnavailableError: The file or the audit log cannot be written.
        """
        made, now = generate_key(), datetime.now(UTC)
        with changing(self.path) as (clients, replace):
            client = _existing(clients, name)
            kept = [key for key in client.keys if key.expires is None or key.expires > now]
            if len(kept) >= KEYS_MOST and overlap:
                raise SettingsError(
                    f"client {name}: has {KEYS_MOST} valid keys",
                    "wait until the older one has expired, or give --overlap 0 to remove both",
                )
            end = now + overlap
            old = [
                key.model_copy(update={"expires": min(key.expires or end, end)})
                for key in kept
                if overlap
            ]
            keys = (*old, _entry(made, key_expires))
            clients[name] = client.model_copy(update={"keys": keys})
            removed = sorted({key.id for key in client.keys} - {key.id for key in old})
            until = end.isoformat(timespec="seconds") if old else None
            details = {"key": made.id, "removed": removed, "old_valid_until": until}
            replace(lambda: self.audit.record("client.rotate", name, details))
        return made

    def disable(self, name: str, *, enable: bool = False) -> None:
        """Refuse a client, or accept it again.

        Raises:
            SettingsError: There is no such client.
            UnavailableError: The file or the audit log cannot be written.
        """
        with changing(self.path) as (clients, replace):
            client = _existing(clients, name)
            clients[name] = client.model_copy(update={"disabled": not enable})
            action = "client.enable" if enable else "client.disable"
            replace(lambda: self.audit.record(action, name))

    def remove(self, name: str) -> None:
        """Remove a client and its keys.

        Raises:
            SettingsError: There is no such client.
            UnavailableError: The file or the audit log cannot be written.
        """
        with changing(self.path) as (clients, replace):
            removed = [key.id for key in _existing(clients, name).keys]
            del clients[name]
            replace(lambda: self.audit.record("client.remove", name, {"removed": removed}))


def listed_clients(path: Path) -> list[dict[str, Any]]:
    """Return all clients for a report, by name; of their keys only id and times.

    Raises:
        SettingsError: The file is refused.
    """
    table, _ = load_clients(path)
    return [
        {
            "client": name,
            **client.model_dump(mode="json", exclude={"keys"}),
            "keys": [key.model_dump(mode="json", exclude={"sha256"}) for key in client.keys],
        }
        for name, client in sorted(table.clients.items())
    ]


def moment(text: str | None, option: str) -> datetime | None:
    """Return a time that was given as an option; without a zone it is UTC.

    Raises:
        SettingsError: It is not a time.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingsError(f"{option}: {text!r} is not a time", "write 2027-01-31") from None


def _entry(made: NewKey, expires: datetime | None) -> ClientKey:
    now = datetime.now(UTC).replace(microsecond=0)
    if expires is not None and expires <= now:
        raise SettingsError("the key would have expired already", "name a time in the future")
    return ClientKey(id=made.id, sha256=made.digest.hex(), created=now, expires=expires)


def _existing(clients: Mapping[str, ApiClient], name: str) -> ApiClient:
    if name not in clients:
        raise SettingsError(f"client {name}: is not there", "see `stream-scorer clients list`")
    return clients[name]


def _refuse_name(name: str) -> None:
    if re.fullmatch(NAME_PATTERN, name) is None:
        cut = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        raise SettingsError(
            f"client {cut!a}: is not a name",
            "use 1 to 64 letters, digits, dots, hyphens and underscores",
        )


def _client(name: str, fields: Mapping[str, Any]) -> ApiClient:
    try:
        return ApiClient.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = _path(first["loc"])
        raise SettingsError(f"client {name}: {where}{first['msg']}", "correct the value") from None


def _path(parts: Iterable[int | str]) -> str:
    path = ".".join(map(str, parts))
    return f"{path}: " if path else ""
