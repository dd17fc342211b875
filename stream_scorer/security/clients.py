"""The clients of the API: their names, scopes, limits, keys and certificates; as a document.

The document is JSON: ``{"version": 1, "clients": {NAME: CLIENT}}``. No key can be computed from it.
But a user who can write it can grant access, and one who can read it knows all clients.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from stream_scorer.errors import SettingsError
from stream_scorer.security.canonical_json import parse

CLIENTS_MOST: Final = 10_000
"""Clients in a document."""
KEYS_MOST: Final = 2
"""Keys of a client: the old one and the new one while the client changes over."""
_SUBJECTS_MOST: Final = 8
_FIX: Final = "correct the file, or change it with `stream-scorer clients`"
_RESERVED: Final = frozenset({"open"})


def _printable(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII")
    return text


def _only_text(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("must be a time in ISO 8601 with its zone")  # noqa: TRY004 pydantic's rule
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_only_text)]
ClientScope = Literal["score", "read", "operate", "edge", "admin"]
Subject = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_printable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_serializer("created", "not_before", "expires", check_fields=False)
    def _as_text(self, value: datetime | None) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


class ClientKey(_Part):
    """A key of a client.

    Attributes:
        id: 12 hex digits; not a secret.
        sha256: Of the complete key, 64 hex digits.
        created: When it was made.
        expires: From then on it is refused; None: never.
    """

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: Time
    expires: Time | None = None


class ApiClient(_Part):
    """A client of the API.

    Attributes:
        scopes: What it may do.
        rate_per_second: Requests per second in the long run.
        burst: Requests that may come together after a pause.
        quota_per_day: Requests per day, which begins at midnight UTC; None: no quota.
        not_before: Before that it is refused.
        expires: From then on it is refused; None: never.
        disabled: Whether it is refused.
        keys: At most two.
        certificate_subjects: Subjects of its TLS certificates, as RFC 4514 writes them.
    """

    scopes: frozenset[ClientScope] = Field(min_length=1)
    rate_per_second: float = Field(100.0, gt=0, le=1_000_000, strict=True)
    burst: int = Field(200, ge=1, le=1_000_000, strict=True)
    quota_per_day: int | None = Field(None, ge=1, le=10**12, strict=True)
    not_before: Time | None = None
    expires: Time | None = None
    disabled: bool = Field(default=False, strict=True)
    keys: tuple[ClientKey, ...] = Field((), max_length=KEYS_MOST)
    certificate_subjects: tuple[Subject, ...] = Field((), max_length=_SUBJECTS_MOST)

    @field_serializer("scopes")
    def _in_order(self, value: frozenset[str]) -> list[str]:
        return sorted(value)

    @model_validator(mode="after")
    def _leave_a_time(self) -> Self:
        if self.not_before and self.expires and self.not_before >= self.expires:
            raise ValueError("not_before is not before expires")
        return self


NAME_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
ClientName = Annotated[str, Field(pattern=NAME_PATTERN)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    clients: dict[ClientName, ApiClient] = Field(max_length=CLIENTS_MOST)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key as requests are compared with it.

    Attributes:
        digest: SHA-256 of the key, 32 bytes.
        client: The client's name; empty for a key that no client has.
        end: From then on it is refused; seconds since the epoch.
    """

    digest: bytes
    client: str
    end: float


_NO_KEY: Final = KeyEntry(bytes(32), "", math.inf)


class ClientTable:
    """All clients, as requests look them up.

    Args:
        clients: By name.

    Raises:
        ValueError: Two have the same key or certificate subject, or a name is reserved.
    """

    def __init__(self, clients: Mapping[str, ApiClient]) -> None:
        self.clients = dict(clients)
        self._keys: dict[str, KeyEntry] = {}
        self._subjects: dict[str, str] = {}
        for name, client in self.clients.items():
            if name in _RESERVED:
                raise ValueError(f"clients.{name}: the name is reserved")
            for key in client.keys:
                entry = KeyEntry(bytes.fromhex(key.sha256), name, end_of(key.expires))
                if self._keys.setdefault(key.id, entry) is not entry:
                    raise ValueError(f"clients.{name}: the key id {key.id} is there twice")
            for subject in client.certificate_subjects:
                if self._subjects.setdefault(subject, name) != name:
                    raise ValueError(
                        f"clients.{name}: a certificate subject belongs to "
                        f"{self._subjects[subject]}, too"
                    )

    def key(self, identity: str) -> KeyEntry:
        """Return the key with an id; without one, a key that nothing matches.

        A comparison takes the same time with both, so that its time does not show which ids exist.
        """
        return self._keys.get(identity, _NO_KEY)

    def with_subject(self, subject: str) -> str | None:
        """Return the name of the client with a certificate subject, compared exactly."""
        return self._subjects.get(subject)


def end_of(moment: datetime | None) -> float:
    """Return a time in seconds since the epoch; infinity for None."""
    return math.inf if moment is None else moment.timestamp()


def read_clients(data: bytes, what: str) -> ClientTable:
    """Return the clients of a document.

    Args:
        data: The document; its size is already limited.
        what: The file, for messages.

    Raises:
        SettingsError: Not JSON of this form; names the first fault, without its value.
    """
    try:
        return ClientTable(_Document.model_validate(parse(data)).clients)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(_word(each) for each in first["loc"])
        raise SettingsError(f"{what}: {where}: {first['msg']}", _FIX) from None
    except ValueError as error:
        raise SettingsError(f"{what}: {error}", _FIX) from None


def clients_document(clients: Mapping[str, ApiClient]) -> dict[str, Any]:
    """Return the document of clients, as JSON has it."""
    return {
        "version": 1,
        "clients": {
            name: clients[name].model_dump(mode="json", exclude_defaults=True)
            for name in sorted(clients)
        },
    }


def _word(part: int | str) -> str:
    """Return a part of a path in a document, without characters of the document that are odd."""
    text = str(part)
    return text if re.fullmatch(r"[\w.-]{1,64}", text, re.ASCII) else "..."
