"""Events of the API's access control: refused callers, and the state of clients and keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

REFUSALS: Final = (
    "browser", "certificate_forged", "certificate_unknown", "certificate_unverified",
    "client_disabled", "client_early", "client_expired", "credential_malformed",
    "credential_missing", "host", "key_expired", "key_unknown", "peer", "quota", "rate", "scope",
    "token_algorithm", "token_audience", "token_claims", "token_early", "token_expired",
    "token_failures", "token_issuer", "token_key", "token_keys_unavailable", "token_malformed",
    "token_signature", "token_subjects",
)  # fmt: skip
"""Why callers are refused; a closed set."""


@dataclass(frozen=True, slots=True)
class CallerRefused(Event):
    """A caller was refused.

    Attributes:
        reason: One of ``REFUSALS``.
    """

    reason: str

    REFUSED = Counter(
        "access_refused",
        "Requests refused by access control, by reason.",
        "reason",
        begin=REFUSALS,
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REFUSED, 1, self.reason


@dataclass(frozen=True, slots=True)
class ClientsRead(Event):
    """The clients file was read again.

    Attributes:
        clients: Number of clients in use.
        refusal: Why the changed file has no effect; empty if it has.
    """

    clients: int
    refusal: str = ""

    CLIENTS = Gauge("access_clients", "Clients of the API in use.")
    REFUSED = Gauge(
        "access_clients_refused", "1 while the changed clients file is refused and has no effect."
    )
    LINE = Line("clients_refused", "Degraded: the clients file is refused", "error")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.CLIENTS, self.clients
        yield self.REFUSED, bool(self.refusal)
        if self.refusal:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class TokenKeysRead(Event):
    """The token issuer's keys were read again.

    Attributes:
        keys: Number of keys in use.
        failure: Why the reading failed; empty if it did not.
    """

    keys: int
    failure: str = ""

    KEYS = Gauge("access_token_keys", "Keys of the token issuer in use.")
    READINGS = Counter(
        "access_token_key_readings",
        "Readings of the token issuer's keys: read or failed.",
        "result",
        begin=("read", "failed"),
    )
    LINE = Line("token_keys_not_read", "Degraded: the token issuer's keys are not read", "error")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.KEYS, self.keys
        yield self.READINGS, 1, "failed" if self.failure else "read"
        if self.failure:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class AccessNotRecorded(Event):
    """Refusals could not be written to the audit log; it is tried again.

    Attributes:
        waiting: Lines that wait.
        detail: Why.
    """

    waiting: int
    detail: str

    LINE = Line("access_not_recorded", "Degraded: refusals are not in the audit log", "error")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LINE
