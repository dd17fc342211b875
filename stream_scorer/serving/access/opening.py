"""Opens the gate of the settings, or refuses to serve: without access control only on loopback."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.closing import Closing
from stream_scorer.errors import SettingsError
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.clients_file import ClientsFollower
from stream_scorer.serving.access.accounts import Accounts
from stream_scorer.serving.access.gate import AccessGate, Clocks
from stream_scorer.serving.access.peers import is_loopback
from stream_scorer.serving.access.records import RefusalRecords
from stream_scorer.serving.settings.access import UNIX_PEER, Access
from stream_scorer.settings import PRODUCTION, Settings
from stream_scorer.telemetry.access import ClientsRead, TokenKeysRead
from stream_scorer.telemetry.event import Event

_TICK_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens.

    Attributes:
        host: Address or name; ``unix`` for a Unix socket.
        certificates_required: Whether each connection must have a certificate that the server's CA
            signed.
    """

    host: str
    certificates_required: bool = False


class OpenedGate(Closing):
    """A gate, and the threads that keep its clients, keys and records current until it is closed.

    Args:
        settings: The settings of access, mode and audit log.
        listeners: Where the servers listen whose requests the gate judges.
        report: Takes the events; is called from several threads.
        clocks: Time.

    Raises:
        SettingsError: Nothing is configured, a file is refused, or the settings would let others
            than the named clients in.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: tuple[ListenAddress, ...],
        report: Callable[[Event], None],
        clocks: Clocks | None = None,
    ) -> None:
        access = settings.serving.access
        for listener in listeners:
            refuse_unsafe_access(access, listener, production=settings.mode == PRODUCTION)
        if UNIX_PEER in access.certificate_peers and UNIX_PEER not in {
            each.host for each in listeners
        }:
            raise SettingsError(
                "serving.access.certificate_peers: names unix, and the API has no Unix socket",
                "set serving.unix_socket, or remove it",
            )
        clocks = clocks or Clocks()
        self._report = report
        self._running = clocks.running
        self._accounts = Accounts(access)
        self._clients = None
        if access.clients_file is not None:
            self._clients = ClientsFollower(access.clients_file)
            self._follow(self._clients)
        self._keys: Any = None
        tokens = None
        if access.token_issuer:
            # PyJWT is loaded only where tokens are used.
            from stream_scorer.serving.access import token_opening  # noqa: PLC0415

            self._keys = token_opening.token_keys(access, self._report_keys)
            tokens = token_opening.token_callers(access, self._keys, self._accounts)
        self._records = RefusalRecords(open_audit(settings.audit), report, clocks.running)
        self.gate = AccessGate(access, self._accounts, tokens, self._records, report, clocks)
        self._ticking = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access", daemon=True)
        self._thread.start()
        if self._keys is not None:
            self._keys.start()

    def tick(self) -> None:
        """Read the clients file again if it has changed, and write refusals to the audit log."""
        with self._ticking:
            if self._clients is not None:
                try:
                    if self._clients.refresh():
                        self._follow(self._clients)
                except SettingsError as error:
                    self._report(ClientsRead(len(self._accounts.table.clients), str(error)))
            self._records.flush()

    def close(self) -> None:
        """End the threads, and write what is counted to the audit log."""
        self._ending.set()
        if self._keys is not None:
            self._keys.close()
        self._thread.join(_CLOSE_SECONDS)
        self._records.flush(final=True)

    def _run(self) -> None:
        while not self._ending.wait(_TICK_SECONDS):
            self.tick()

    def _follow(self, clients: ClientsFollower) -> None:
        self._accounts.follow(clients.table, self._running())
        self._report(ClientsRead(len(clients.table.clients)))

    def _report_keys(self, keys: int, failure: str) -> None:
        self._report(TokenKeysRead(keys, failure))


def refuse_unsafe_access(access: Access, listener: ListenAddress, *, production: bool) -> None:
    """Refuse to serve where others than the named clients could call.

    Args:
        access: The settings.
        listener: Where the server listens.
        production: Whether the mode is production.

    Raises:
        SettingsError: It names the setting.
    """
    near = listener.host == "localhost" or is_loopback(listener.host)
    if not access.configured and not access.open_on_loopback:
        raise SettingsError(
            "serving.access: no client is configured",
            "make one: stream-scorer clients add; or set serving.access.token_issuer, or, on your "
            "own machine, serving.access.open_on_loopback",
        )
    if access.open_on_loopback and not near:
        raise SettingsError(
            f"serving.access.open_on_loopback: serving.host {listener.host} is beyond loopback",
            "bind 127.0.0.1, or make clients: stream-scorer clients add",
        )
    if access.open_on_loopback and production:
        raise SettingsError(
            "serving.access.open_on_loopback: mode is production",
            "make clients: stream-scorer clients add",
        )
    networks = [each for each in access.certificate_peers if each != UNIX_PEER]
    if networks and not listener.certificates_required:
        raise SettingsError(
            f"serving.access.certificate_peers: {networks[0]} may send the header without a "
            "certificate",
            "have the server require certificates, or let the proxy use a Unix socket",
        )
