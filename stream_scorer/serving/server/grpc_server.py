"""gRPC in the process's own event loop, with limits, next to HTTP."""

from collections.abc import Iterable, Sequence
from typing import Final

import grpc
import grpc.aio

from stream_scorer.errors import SettingsError
from stream_scorer.serving.access.grpc_messages import message_bytes_most
from stream_scorer.serving.server.compose import AddServicer
from stream_scorer.serving.settings.api import Serving

_STREAMS_MOST: Final = 128
_METADATA_BYTES_MOST: Final = 16_384
_PING_MS: Final = 60_000
_PING_ANSWER_MS: Final = 20_000
_CLIENT_PINGS_MS: Final = 10_000
"""A client that pings more often twice is disconnected."""
_IDLE_MS: Final = 300_000
_AGE_MS: Final = 3_600_000
"""After it, a connection takes no further calls; clients connect again."""
_AGE_GRACE_MS: Final = 60_000
_WINDOW_BYTES: Final = 65_535
"""What a call may send before its message is read."""


class GrpcServer:
    """Serves gRPC services at ``serving.grpc_port``.

    Args:
        serving: The settings; ``grpc_port`` is set.
        servicers: The services.
        interceptors: The first one is outermost.

    Raises:
        SettingsError: The address or a certificate cannot be used.
    """

    def __init__(
        self,
        serving: Serving,
        servicers: Iterable[AddServicer],
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._serving = serving
        self._server = grpc.aio.server(
            interceptors=interceptors,
            # Calls are counted by the interceptor once they are admitted: gRPC itself would also
            # count those that it is about to refuse.
            options=_options(serving),
        )
        for add in servicers:
            add(self._server)
        host = f"[{serving.host}]" if ":" in serving.host else serving.host
        asked = f"{host}:{serving.grpc_port}"
        credentials = _credentials(serving)
        try:
            self.port = (
                self._server.add_insecure_port(asked)
                if credentials is None
                else self._server.add_secure_port(asked, credentials)
            )
        except RuntimeError as error:
            raise SettingsError(
                f"serving.grpc_port {asked}: cannot be bound",
                "set serving.host to an IP address and serving.grpc_port to a free port",
            ) from error

    @property
    def address(self) -> str:
        """Host and port."""
        host = self._serving.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Refuse further calls, and wait for those in flight.

        Args:
            seconds: Limit; calls that are in flight then are cancelled.
        """
        await self._server.stop(seconds)


def _options(serving: Serving) -> list[tuple[str, int]]:
    return [
        # Or another server on the same port would go unnoticed.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", message_bytes_most(serving)),
        ("grpc.max_send_message_length", serving.grpc_message_bytes_max),
        ("grpc.max_concurrent_streams", _STREAMS_MOST),
        ("grpc.max_metadata_size", _METADATA_BYTES_MOST),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES_MOST),
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PING_ANSWER_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _CLIENT_PINGS_MS),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.max_connection_age_ms", _AGE_MS),
        ("grpc.max_connection_age_grace_ms", _AGE_GRACE_MS),
        ("grpc.max_allowed_incoming_connections", serving.connections_max),
        ("grpc.server_handshake_timeout_ms", round(1_000 * serving.head_seconds)),
        # Or gRPC lets the window grow with the rate.
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),
    ]


def _credentials(serving: Serving) -> grpc.ServerCredentials | None:
    if serving.tls_certificate is None or serving.tls_key is None:
        return None
    authority = serving.grpc_client_ca
    path = serving.tls_certificate
    try:
        certificate = path.read_bytes()
        path = serving.tls_key
        key = path.read_bytes()
        roots = None
        if authority is not None:
            path = authority
            roots = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "name a readable PEM file") from error
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=roots, require_client_auth=roots is not None
    )
