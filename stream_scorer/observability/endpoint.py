"""The HTTP endpoint of a process: its probes and its metrics.

``/health/live``  200 while the loop makes progress and no batch hangs, else 503: restart it.
``/health/ready`` 200 while the process can do its work, else 503; the JSON body lists the reasons,
and ``degraded`` lists what works only in part.
``/metrics``      the registry in Prometheus's or OpenMetrics' text format.

With ``http.token``, metrics and the reasons in probes require ``Authorization: Bearer TOKEN``;
without it a probe is answered with its status alone.
"""

import hmac
import json
import ssl
import threading
from http import HTTPStatus
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from stream_scorer.closing import Closing
from stream_scorer.errors import SettingsError
from stream_scorer.observability.bounded_http import BoundedHandler, BoundedServer, TlsFiles
from stream_scorer.observability.health import Probed
from stream_scorer.redaction import redacted
from stream_scorer.settings import Http

_POLL_SECONDS = 0.1


class Endpoint(Closing):
    """The HTTP endpoint of one process, served by its own threads until closed.

    Args:
        http: Address, certificate, token; port 0 picks a free one.
        registry: The metrics.
        health: The source of the probes' answers.

    Raises:
        SettingsError: The address cannot be bound, or the certificate cannot be used.
    """

    def __init__(self, http: Http, registry: CollectorRegistry, health: Probed) -> None:
        token = None if http.token is None else http.token.get_secret_value().encode()
        handler = type(
            "Handler", (_ProbeHandler,), {"registry": registry, "health": health, "token": token}
        )
        tls = _tls(http)
        try:
            self._server = BoundedServer((http.host, http.port), handler, tls)
        except OSError as error:
            raise SettingsError(
                f"http {http.host}:{http.port}: {error.strerror}",
                "set http.host and http.port; port 0 picks a free one",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(_POLL_SECONDS,),
            name="http-endpoint",
            daemon=True,
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The bound port."""
        return self._server.port

    def close(self) -> None:
        """Stop serving and free the port; does not wait for hanging requests."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _tls(http: Http) -> TlsFiles | None:
    if http.tls_certificate is None or http.tls_key is None:
        return None
    try:
        return TlsFiles(http.tls_certificate, http.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"http.tls_certificate {http.tls_certificate}, http.tls_key {http.tls_key}: "
            f"{error.strerror or error}",
            "name a PEM certificate chain and its private key without a passphrase",
        ) from error


class _ProbeHandler(BoundedHandler):
    registry: ClassVar[CollectorRegistry]
    health: ClassVar[Probed]
    token: ClassVar[bytes | None]

    def do_GET(self) -> None:  # noqa: N802 http.server's name
        path = self.path.split("?")[0].rstrip("/")
        trusted = self._trusted()
        if path == "/metrics" and trusted:
            encode, content_type = _encoder(self.headers.get("Accept", ""))
            self.answer(HTTPStatus.OK, encode(self.registry), content_type)
        elif path == "/metrics":
            self.answer(
                HTTPStatus.UNAUTHORIZED,
                b"send Authorization: Bearer with the value of http.token\n",
                "text/plain; charset=utf-8",
                WWW_Authenticate="Bearer",
            )
        elif path == "/health/live":
            live, silent = self.health.live, self.health.silent_seconds
            self._json(live, {"live": live}, {"seconds_since_progress": round(silent, 3)})
        elif path == "/health/ready":
            reasons = [redacted(reason) for reason in self.health.reasons()]
            degraded = [redacted(reason) for reason in self.health.degraded()]
            ready = not reasons
            self._json(ready, {"ready": ready}, {"reasons": reasons, "degraded": degraded})
        else:
            known = b"/metrics, /health/live or /health/ready\n"
            self.answer(HTTPStatus.NOT_FOUND, known, "text/plain; charset=utf-8")

    def _trusted(self) -> bool:
        if self.token is None:
            return True
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        # Header fields are Latin-1 on the wire.
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self.token)
        return same and scheme.lower() == "bearer"

    def _json(
        self,
        good: bool,  # noqa: FBT001 it is the status
        verdict: dict[str, Any],
        details: dict[str, Any],
    ) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        body = verdict | details if self._trusted() else verdict
        self.answer(status, json.dumps(body).encode() + b"\n", "application/json")


def _encoder(accepted: str) -> tuple[Any, str]:
    """Return the metrics' encoder and content type for an Accept header."""
    try:
        encode, content_type = choose_encoder(accepted)
    except (TypeError, ValueError):
        # The library compares versions, even if the header's is not a number.
        encode, content_type = choose_encoder("")
    return encode, content_type
