"""Granian in the process's own event loop: its address, its limits, its start and its end."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.errors import ConfigurationError
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from stream_scorer.errors import SettingsError
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.settings.api import Serving

_BACKLOG: Final = 1_024
_STREAMS_MOST: Final = 128
"""Requests at a time in one connection of HTTP/2."""
_SOCKET_MODE: Final = 0o660
_START_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_TLS: Final = {"1.2": SSLProtocols.tls12, "1.3": SSLProtocols.tls13}


class HttpServer:
    """Serves an application at the address of the settings.

    Args:
        serving: The settings.
        application: Answers the requests.

    Raises:
        SettingsError: The address or the certificate cannot be used.
    """

    def __init__(self, serving: Serving, application: Application) -> None:
        _check_authority(serving.client_ca)
        self._reserved = None if serving.unix_socket else _reserve(serving.host, serving.port)
        if serving.unix_socket is not None:
            _free_socket(serving.unix_socket)
        self._released = False
        self._serving = serving
        self._target: Any = (
            _unix_target(serving.unix_socket) if self._reserved is None
            else (socket.AF_INET6 if ":" in serving.host else socket.AF_INET, self._address())
        )  # fmt: skip
        head_ms = int(serving.head_seconds * 1_000)
        try:
            self._server: Any = Server(
                application,
                # Resolved: Granian takes IP addresses only.
                address=serving.host if self._reserved is None else self._address()[0],
                port=0 if self._reserved is None else self._address()[1],
                uds=serving.unix_socket,
                interface=Interfaces.RSGI,
                http=HTTPModes.auto if serving.http2 else HTTPModes.http1,
                websockets=False,
                backlog=_BACKLOG,
                backpressure=serving.connections_max,
                http1_settings=HTTP1Settings(
                    header_read_timeout=head_ms, max_buffer_size=serving.head_bytes_max
                ),
                http2_settings=HTTP2Settings(
                    keep_alive_interval=head_ms,
                    keep_alive_timeout=max(1, round(serving.head_seconds)),
                    max_concurrent_streams=_STREAMS_MOST,
                    max_headers_size=serving.head_bytes_max,
                ),
                log_enabled=False,
                ssl_cert=serving.tls_certificate,
                ssl_key=serving.tls_key,
                ssl_protocol_min=_TLS[serving.tls_minimum],
                ssl_ca=serving.client_ca,
                ssl_client_verify=serving.client_ca is not None,
            )
        except (OSError, ssl.SSLError, ConfigurationError) as error:
            self._release()
            raise _refused_certificate(serving, error) from error
        # Its constructor does not take it.
        self._server.uds_permissions = _SOCKET_MODE
        self._task: asyncio.Task[None] | None = None

    def _address(self) -> tuple[str, int]:
        assert self._reserved is not None  # noqa: S101 only called with a port
        host, port, *_ = self._reserved.getsockname()
        return host, port

    @property
    def address(self) -> str:
        """Where it listens: a URL, or ``unix:PATH``."""
        if self._serving.unix_socket is not None:
            return f"unix:{self._serving.unix_socket}"
        host, port = self._address()
        scheme = "http" if self._serving.tls_certificate is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def start(self) -> None:
        """Begin to serve; return once a client can connect.

        Raises:
            SettingsError: It does not serve, such as with a key of a kind that it does not support.
        """
        self._task = asyncio.get_running_loop().create_task(self._server.serve())
        for _ in range(round(_START_SECONDS / _POLL_SECONDS)):
            await asyncio.sleep(_POLL_SECONDS)
            if self._task.done() or self._server.interrupt_children:
                break
            if self._accepts():
                return
        await self.stop(0.0)
        raise _refused_certificate(self._serving, OSError("the server did not start"))

    def _accepts(self) -> bool:
        family, address = self._target
        with socket.socket(family) as client:
            # The backlog takes the connection at once, or nothing listens.
            client.settimeout(1.0)
            return client.connect_ex(address) == 0

    async def wait(self) -> None:
        """Wait until it ends, which without :meth:`close` it does only by an error."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def close(self) -> None:
        """Accept no more connections; idle ones end now, and the others with their answer."""
        self._server.stop()

    async def stop(self, seconds: float) -> bool:
        """Accept no more connections, and wait for the end of the present ones.

        Args:
            seconds: Limit for the wait.

        Returns:
            Whether all of them ended.
        """
        self.close()
        ended = True
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=seconds)
            ended = bool(done)
            if not ended:
                self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
        self._release()
        return ended

    def _release(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
        elif self._serving.unix_socket is not None and not self._released:
            self._serving.unix_socket.unlink(missing_ok=True)
        self._released = True


def _unix_target(path: Path | None) -> tuple[int, str]:
    return socket.AF_UNIX, str(path)


def _reserve(host: str, port: int) -> socket.socket:
    """Return a socket that holds the address but does not listen.

    Granian shares ports between processes, so it would not notice that another server has the
    port. A socket that shares nothing shows that. Then one that shares keeps others away, and lets
    Granian bind the port.

    Raises:
        SettingsError: The address is not free, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kept = socket.socket(family)
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((host, port))
    except OSError as error:
        kept.close()
        raise SettingsError(
            f"serving {host}:{port}: {error.strerror}",
            "set serving.host to an IP address and serving.port; port 0 picks a free one",
        ) from error
    return kept


def _free_socket(path: Path) -> None:
    """Remove a Unix socket that a killed server left.

    Raises:
        SettingsError: Something else is there, a server still listens, or the path cannot be used.
    """
    fix = "set serving.unix_socket to a path in a folder that this user may write to"
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SettingsError(f"serving.unix_socket {path}: exists and is not a socket", fix)
        with socket.socket(socket.AF_UNIX) as client:
            code = client.connect_ex(str(path))
        if code != errno.ECONNREFUSED:
            reason = "another server listens there" if code == 0 else os.strerror(code)
            raise SettingsError(f"serving.unix_socket {path}: {reason}", fix)
        path.unlink()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise SettingsError(f"serving.unix_socket {path}: no such folder", fix) from None
    except OSError as error:
        raise SettingsError(
            f"serving.unix_socket {path}: {error.strerror or error}", fix
        ) from error


def _check_authority(path: Path | None) -> None:
    """Refuse a file of CA certificates that Granian could not read.

    Raises:
        SettingsError: It names the file.
    """
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"serving.client_ca {path}: {error.strerror or error}",
            "name a PEM file with the CA's certificate",
        ) from error


def _refused_certificate(serving: Serving, error: Exception) -> SettingsError:
    reason = getattr(error, "strerror", None) or str(error)
    if serving.tls_certificate is None:
        return SettingsError(f"serving: {reason}", "see docs/API.md")
    return SettingsError(
        f"serving.tls_certificate {serving.tls_certificate}, serving.tls_key {serving.tls_key}: "
        f"{reason}",
        "name a PEM certificate chain and its private key without a passphrase",
    )
