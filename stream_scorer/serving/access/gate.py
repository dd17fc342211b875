"""The gate of the API: who a caller is, and whether it may call now.

``admit`` reads only memory: the clients, the issuer's keys and the audit log are read and written
by other threads. It takes some microseconds, so a server may call it in its event loop.
"""

import hmac
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.clocks import Clock
from stream_scorer.security.api_keys import PREFIX, digest_of, key_id_of
from stream_scorer.serving.access.accounts import Account, Accounts
from stream_scorer.serving.access.certificates import is_subject, subject_of_connection
from stream_scorer.serving.access.failures import FailureLimit
from stream_scorer.serving.access.limits import LimitReached
from stream_scorer.serving.access.peers import (
    Proxies,
    from_page,
    grpc_address,
    is_loopback,
    names_loopback,
    neighbourhood,
)
from stream_scorer.serving.access.records import RefusalRecords
from stream_scorer.serving.access.refusals import (
    forbidden,
    out_of_scope,
    too_many,
    unauthenticated,
)
from stream_scorer.serving.access.token_callers import TokenCallers
from stream_scorer.serving.settings.access import Access
from stream_scorer.serving.web.gate import RequestHead
from stream_scorer.serving.web.messages import Caller, Scope
from stream_scorer.serving.web.problems import Problem
from stream_scorer.telemetry.access import CallerRefused
from stream_scorer.telemetry.event import Event

OPEN: Final = Caller("open", frozenset({"score", "read", "operate"}), "open")
"""Each program of this machine, where a development server authenticates no caller."""
FORGED: Final = "access.certificate-forged"
FAILURES: Final = "access.failures"
_VERIFIED: Final = "SUCCESS"
_AUTHORIZATION: Final = "authorization"


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a gate.

    Attributes:
        running: Seconds that never go back; of rates.
        wall: Seconds since the epoch; of validities and days.
    """

    running: Clock = time.monotonic
    wall: Clock = time.time


class AccessGate:
    """Admits callers by API key, token or certificate; without a credential, none.

    Args:
        access: The settings.
        accounts: The clients.
        tokens: Those of the settings' issuer; None: tokens are refused.
        records: Refusals for the audit log.
        report: Takes the events.
        clocks: Time.
    """

    def __init__(
        self,
        access: Access,
        accounts: Accounts,
        tokens: TokenCallers | None,
        records: RefusalRecords,
        report: Callable[[Event], None],
        clocks: Clocks | None = None,
    ) -> None:
        clocks = clocks or Clocks()
        self._open = access.open_on_loopback
        self._subject_header = access.certificate_header
        self._verified_header = access.certificate_verified_header
        self._proxies = Proxies(access.certificate_peers)
        self._accounts = accounts
        self._tokens = tokens
        self._records = records
        self._report = report
        self._failures = FailureLimit(access.failures_per_minute)
        self._running = clocks.running
        self._wall = clocks.wall
        self._lock = threading.Lock()

    def admit(self, head: RequestHead) -> Caller:
        """Return who sends a request.

        Args:
            head: The request's; a header that came twice has both values, or is refused before.

        Raises:
            Problem: 401 without a valid credential, 403 from a browser's page, 429 past a limit,
                503 while the issuer's keys are not known.
        """
        headers, peer = head.headers, head.peer
        subject = None
        if self._subject_header in headers or self._verified_header in headers:
            subject = self._subject_from_proxy(headers, peer)
        return self._admit(headers, peer, subject, headers.get("host", ""))

    def admit_grpc(
        self,
        metadata: Sequence[tuple[str, str | bytes]],
        auth_context: Mapping[str, Sequence[bytes]],
        peer: str,
    ) -> Caller:
        """Return who makes a gRPC call.

        Args:
            metadata: Of the call; a credential that is there twice is refused.
            auth_context: Of the call: has the certificate that gRPC verified.
            peer: As gRPC writes it: ``ipv4:10.0.0.7:50312``.

        Raises:
            Problem: As :meth:`admit`.
        """
        address = grpc_address(peer)
        headers: dict[str, str] = {}
        for name, value in metadata:
            if name == _AUTHORIZATION and (name in headers or not isinstance(value, str)):
                raise self._failed("credential_malformed", "send one credential", address)
            headers[name] = value if isinstance(value, str) else ""
        if self._subject_header in headers or self._verified_header in headers:
            # A gRPC server has the connection's own certificate: no proxy has to name one.
            raise self._forged(address)
        subject = subject_of_connection(auth_context)
        # A browser's page cannot make gRPC calls, and gRPC does not show the host's name.
        return self._admit(headers, address, subject, None)

    def authorise(self, caller: Caller, scope: Scope, *others: Scope) -> None:
        """Refuse a caller without a scope.

        Args:
            caller: Of a request.
            scope: The scope; the problem names it.
            others: Scopes that suffice as well.

        Raises:
            Problem: 403.
        """
        if not any(caller.may(each) for each in (scope, *others)):
            self._report(CallerRefused("scope"))
            raise out_of_scope(scope)

    def charge(self, caller: Caller, requests: int) -> None:
        """Count further requests of an admitted caller: those in a batch after its first.

        Raises:
            Problem: 429; nothing is counted.
        """
        with self._lock:
            limits = self._accounts.limits_of(caller)
            if limits is None or requests < 1:
                return
            past = limits.take(self._running(), self._wall(), requests)
        if past is not None:
            raise self._past(past, self.limit_headers(caller))

    def limit_headers(self, caller: Caller) -> tuple[tuple[str, str], ...]:
        """Return the headers ``ratelimit-*`` for an answer to a caller; none without limits."""
        limits = self._accounts.limits_of(caller)
        return () if limits is None else limits.headers(self._running())

    def _admit(
        self, headers: Mapping[str, str], peer: str, subject: str | None, host: str | None
    ) -> Caller:
        if from_page(headers):
            self._report(CallerRefused("browser"))
            raise forbidden("requests of web pages are not accepted")
        authorization = headers.get(_AUTHORIZATION)
        if authorization is not None:
            account, how = self._by_authorization(authorization, peer)
        elif subject is not None:
            account, how = self._by_subject(subject, peer), "certificate"
        elif self._open:
            return self._open_to(peer, host)
        else:
            raise self._failed(
                "credential_missing", "send Authorization: Bearer", peer, presented=False
            )
        with self._lock:
            now = self._running()
            reached = account.limits.take(now, self._wall())
        if reached is not None:
            raise self._past(reached, account.limits.headers(now))
        return account.caller(how)

    def _by_authorization(self, value: str, peer: str) -> tuple[Account, str]:
        scheme, _, credential = value.partition(" ")
        if scheme.lower() != "bearer":
            raise self._failed("credential_malformed", "send Authorization: Bearer", peer)
        if credential.startswith(PREFIX):
            return self._by_key(credential, peer), "key"
        if self._tokens is None:
            raise self._failed("credential_malformed", "the credential is not an API key", peer)
        return self._by_token(self._tokens, credential, peer), "token"

    def _by_key(self, text: str, peer: str) -> Account:
        identity = key_id_of(text)
        if identity is None:
            raise self._failed("credential_malformed", "the credential is not an API key", peer)
        key = self._accounts.table.key(identity)
        if not hmac.compare_digest(digest_of(text), key.digest):
            raise self._failed("key_unknown", "the API key is not known", peer)
        now = self._wall()
        if now >= key.end:
            raise self._failed("key_expired", "the API key has expired", peer)
        return self._valid(key.client, now, peer)

    def _by_token(self, tokens: TokenCallers, token: str, peer: str) -> Account:
        now = self._running()
        with self._lock:
            # A proxy's clients share its address, so that one of them could lock out the others.
            blocked = 0.0 if self._proxies.has(peer) else self._wait(peer, now)
            found = tokens.account(token, now, self._wall(), unverified=blocked == 0.0)
        if isinstance(found, Account):
            return found
        if found is None:
            self._report(CallerRefused("token_failures"))
            raise too_many("too many failed authentications from this address", blocked)
        if found.problem is not None:
            self._report(CallerRefused(found.reason))
            raise found.problem
        raise self._failed(found.reason, found.detail, peer)

    def _by_subject(self, subject: str, peer: str) -> Account:
        name = self._accounts.table.with_subject(subject)
        if name is None:
            raise self._failed("certificate_unknown", "the certificate is not known", peer)
        return self._valid(name, self._wall(), peer)

    def _valid(self, name: str, now: float, peer: str) -> Account:
        account = self._accounts.client(name)
        # Between two versions of the clients file, a client may be gone already.
        if account is None or account.disabled:
            raise self._failed("client_disabled", "the client is disabled", peer)
        if now < account.begin:
            raise self._failed("client_early", "the client is not valid yet", peer)
        if now >= account.end:
            raise self._failed("client_expired", "the client has expired", peer)
        return account

    def _subject_from_proxy(self, headers: Mapping[str, str], peer: str) -> str | None:
        """Return the subject that a proxy names; None if its client has no certificate."""
        if not self._proxies.has(peer):
            raise self._forged(peer)
        subject = headers.get(self._subject_header, "")
        verified = headers.get(self._verified_header, "")
        if not subject and verified in {"", "NONE"}:
            return None
        if verified != _VERIFIED or not is_subject(subject):
            raise self._failed("certificate_unverified", "the certificate is not verified", peer)
        return subject

    def _open_to(self, peer: str, host: str | None) -> Caller:
        if not is_loopback(peer):
            self._report(CallerRefused("peer"))
            raise forbidden("only programs of this machine are accepted")
        if host is not None and not names_loopback(host):
            self._report(CallerRefused("host"))
            raise forbidden("address the server as localhost or 127.0.0.1")
        return OPEN

    def _forged(self, peer: str) -> Problem:
        self._records.note(FORGED, neighbourhood(peer))
        return self._failed("certificate_forged", "this peer may not name a certificate", peer)

    def _past(self, reached: LimitReached, headers: tuple[tuple[str, str], ...]) -> Problem:
        self._report(CallerRefused(reached.limit))
        detail = "rate limit reached" if reached.limit == "rate" else "daily quota reached"
        return too_many(detail, reached.seconds, *headers)

    def _wait(self, peer: str, now: float) -> float:
        return self._failures.wait(neighbourhood(peer), now)

    def _failed(self, reason: str, detail: str, peer: str, *, presented: bool = True) -> Problem:
        """Count a failed authentication; return its problem: 401, or 429 after too many.

        A valid key is admitted from the same address all the time.
        """
        self._report(CallerRefused(reason))
        counted = neighbourhood(peer)
        with self._lock:
            wait = self._failures.note(counted, self._running())
        if wait > 0.0:
            self._records.note(FAILURES, counted)
            return too_many("too many failed authentications from this address", wait)
        return unauthenticated(detail, presented=presented)
