"""An MLflow server over HTTP: one bounded GET, with the credentials that MLflow's client knows.

MLflow's own client would follow redirects, wait for as long as a ``Retry-After`` names, read
answers of any size, and open any address that a server gives as the place of a file. Here only its
choice of credentials and its request are used, and only for addresses below the server's own.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from stream_scorer.errors import ModelError, SettingsError, UnavailableError
from stream_scorer.redaction import remember
from stream_scorer.terminal_text import printable

VARIABLE: Final = "MLFLOW_TRACKING_URI"
_SECRETS: Final = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
_WAIT_SECONDS: Final = 30.0
"""For a connection, and between two pieces of an answer."""
_ANSWER_SECONDS: Final = 600.0
"""For all pieces of an answer."""
_PIECE_BYTES: Final = 64 * 1024
_MISSING: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)
"""MLflow answers 400 for an alias that does not exist."""
_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_ERROR_LONGEST: Final = 200
_CAUSES_MOST: Final = 16


class Server(Protocol):
    """An MLflow server."""

    @property
    def shown(self) -> str:
        """Its address without user and password."""
        ...

    @property
    def host(self) -> str:
        """Its host, with the port if the address has one."""
        ...

    def get(self, endpoint: str, parameters: Mapping[str, str], most: int) -> bytes | None:
        """Return the body of an answer; None if the server does not have what is asked for.

        Args:
            endpoint: Path below the server's address, such as ``/api/2.0/mlflow/runs/get``.
            parameters: Of the query.
            most: Maximum bytes.

        Raises:
            ModelError: The body is larger.
            SettingsError: The credentials are refused.
            UnavailableError: The server does not answer, or answers with an error or a redirect.
        """
        ...


class MlflowServer:
    """The server at an address.

    Args:
        address: Such as ``https://mlflow.example``.

    Raises:
        SettingsError: It is not an address over HTTP, or the extra ``mlflow`` is not installed.
    """

    def __init__(self, address: str) -> None:
        self.host, self.shown = _judged(address)
        for name in _SECRETS:
            remember(os.environ.get(name, ""))
        credentials, self._failure, self._request = _client()
        self._credentials = credentials(address)

    def get(self, endpoint: str, parameters: Mapping[str, str], most: int) -> bytes | None:
        """Return the body of an answer; see :meth:`Server.get`."""
        try:
            with closing(self._send(endpoint, parameters)) as answer:
                if answer.status_code in _MISSING:
                    return None
                self._refuse_unusable(answer)
                return self._body(answer, endpoint, most)
        except (self._failure, OSError) as error:
            raise self._unavailable(f"cannot be reached ({_innermost(error)})") from None

    def _send(self, endpoint: str, parameters: Mapping[str, str]) -> Any:
        return self._request(
            host_creds=self._credentials,
            endpoint=endpoint,
            method="GET",
            params=dict(parameters),
            # A compressed answer can be small and become large.
            extra_headers={"Accept-Encoding": "identity"},
            timeout=_WAIT_SECONDS,
            stream=True,
            # The credentials are for this server alone.
            allow_redirects=False,
            # A server may ask to wait for a day before the next try.
            max_retries=0,
            retry_codes=frozenset(),
            respect_retry_after_header=False,
        )

    def _refuse_unusable(self, answer: Any) -> None:
        status = answer.status_code
        if status in _REFUSED:
            raise SettingsError(
                f"MLflow server {self.shown}: refuses the credentials (status {status})",
                "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD",
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise UnavailableError(
                f"MLflow server {self.shown}: redirects to another address, which is not followed",
                f"name the address itself in {VARIABLE}",
            )
        if status != HTTPStatus.OK:
            raise self._unavailable(f"answers with status {status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._unavailable("sends a compressed answer, which was not asked for")

    def _body(self, answer: Any, endpoint: str, most: int) -> bytes:
        found = bytearray()
        until = time.monotonic() + _ANSWER_SECONDS
        for piece in _pieces(answer.raw):
            found += piece
            if len(found) > most:
                raise ModelError(
                    f"MLflow server {self.shown}: the answer to {endpoint} is larger than "
                    f"{most:,} bytes",
                    "register a smaller model",
                )
            if time.monotonic() > until:
                raise self._unavailable(f"needs more than {_ANSWER_SECONDS:.0f} s for an answer")
        return bytes(found)

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(f"MLflow server {self.shown}: {why}", "try again when it answers")


def open_server(environment: Mapping[str, str]) -> MlflowServer:
    """Return the server that ``MLFLOW_TRACKING_URI`` names.

    Args:
        environment: The process's variables.

    Raises:
        SettingsError: The variable is not set or is not an address, or the extra ``mlflow`` is not
            installed.
    """
    address = environment.get(VARIABLE, "")
    if not address:
        raise SettingsError(
            f"variable {VARIABLE}: is not set", "set it to the address of the MLflow server"
        )
    if environment.get("MLFLOW_REGISTRY_URI", address) != address:
        raise SettingsError(
            f"variable MLFLOW_REGISTRY_URI: differs from {VARIABLE}",
            "only a registry at the tracking server is supported: set both to it, or one of them",
        )
    return MlflowServer(address)


def _judged(address: str) -> tuple[str, str]:
    """Return the host, and the address for messages."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or not address.isprintable():
        raise SettingsError(
            f"variable {VARIABLE}: not the address of a server",
            "start mlflow server, and write http://HOST:PORT or https://HOST",
        )
    if parts.password:
        remember(parts.password)
    place = f"[{host}]" if ":" in host else host
    place = place if port is None else f"{place}:{port}"
    return place, f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def _client() -> tuple[Any, type[Exception], Any]:
    """Return MLflow's look-up of credentials, its error, and its request."""
    # Otherwise importing the package starts a thread that reports its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 the extra mlflow
        from mlflow.utils.credentials import get_default_host_creds  # noqa: PLC0415 as above
        from mlflow.utils.rest_utils import http_request  # noqa: PLC0415 as above
    except ImportError:
        raise SettingsError(
            "models import: a model of an MLflow server needs the extra mlflow",
            "install stream-scorer with its extra `mlflow`",
        ) from None
    return get_default_host_creds, MlflowException, http_request


def _pieces(raw: Any) -> Iterator[bytes]:
    """Yield an answer as it arrives, as the server sent it."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 it comes with the extra mlflow

    try:
        while piece := raw.read(_PIECE_BYTES, decode_content=False):
            yield piece
    except HTTPError as error:
        raise ConnectionError(f"the answer ended early: {type(error).__name__}") from None


def _innermost(error: BaseException) -> str:
    """Return why a request failed, in a few words: MLflow's own text names addresses and objects.

    >>> _innermost(OSError(111, "Connection refused"))
    'Connection refused'
    """
    seen: BaseException = error
    for _ in range(_CAUSES_MOST):
        context = None if seen.__suppress_context__ else seen.__context__
        seen = seen.__cause__ or context or _argument(seen) or seen
    reason = seen.strerror if isinstance(seen, OSError) and seen.strerror else str(seen)
    return printable(reason[:_ERROR_LONGEST]) or type(seen).__name__


def _argument(error: BaseException) -> BaseException | None:
    """Return the exception that another one carries, as urllib3's do."""
    reason = getattr(error, "reason", None)
    carried = [each for each in (reason, *error.args) if isinstance(each, BaseException)]
    return carried[0] if carried else None
