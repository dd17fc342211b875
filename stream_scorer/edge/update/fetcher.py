"""How files come from the repository: HTTPS, within limits of bytes and time, from one place.

No redirect is followed, no proxy of the environment is used, and nothing is inflated. Each file has
a deadline: :data:`START_SECONDS`, and a second for each :data:`BYTES_PER_SECOND` that it may have.
All metadata of a check have :data:`METADATA_SECONDS` together.
"""

import contextlib
import http.client
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

from stream_scorer.edge.update.limits import FILE_BYTES_MOST, METADATA_BYTES_MOST
from stream_scorer.edge.update.refusals import ROLES
from stream_scorer.serving.access.https_fetch import Deadline

START_SECONDS: Final = 30.0
BYTES_PER_SECOND: Final = 16_384
"""The least rate of a download."""
METADATA_SECONDS: Final = 120.0
_PIECE: Final = 65_536


class LimitedFetcher(FetcherInterface):
    """Fetches metadata and targets for the TUF client.

    Args:
        context: Verifies the server.
        scratch: Folder for a file while it is fetched; on the disk that it will be kept on.
        admit: Is called with role and bytes of metadata before the client takes them; may raise.
        start_seconds: Time limit of each file, without what its bytes may take.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        scratch: Path,
        admit: Callable[[str, bytes], None],
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._context = context
        self._scratch = scratch
        self._admit = admit
        self._start_seconds = start_seconds
        self._seconds = start_seconds
        self._metadata_end = time.monotonic() + METADATA_SECONDS
        self.asked_for = ""

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield a temporary file with a file of the repository.

        Args:
            url: Its URL.
            max_length: Maximum bytes.

        Raises:
            DownloadError: It cannot be fetched within the limits.
        """
        self.asked_for = _asked_for(url)
        # Other metadata may name a length; it does not make this limit larger.
        max_length = min(max_length, METADATA_BYTES_MOST.get(self.asked_for, FILE_BYTES_MOST))
        self._seconds = self._start_seconds + max_length / BYTES_PER_SECOND
        if self.asked_for in ROLES:
            left = self._metadata_end - time.monotonic()
            if left <= 0:
                raise SlowRetrievalError(f"metadata took more than {METADATA_SECONDS:g} s")
            self._seconds = min(self._seconds, left)
        # Closed here, and with it the connection, also if the file is refused halfway.
        with (
            tempfile.TemporaryFile(dir=self._scratch) as file,
            contextlib.closing(self._fetch(url)) as pieces,
        ):
            for piece in pieces:
                if file.tell() + len(piece) > max_length:
                    raise DownloadLengthMismatchError(f"has more than {max_length} bytes")
                file.write(piece)
            file.seek(0)
            yield file

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return a file of metadata, after it was admitted; see :meth:`download_file`."""
        data = super().download_bytes(url, max_length)
        self._admit(self.asked_for, data)
        return data

    def _fetch(self, url: str) -> Generator[bytes, None, None]:
        """Yield the pieces of a file's body."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=self._start_seconds, context=self._context
        )
        deadline = Deadline(connection, self._seconds)
        try:
            connection.connect()
            deadline.hold()
            connection.request("GET", parts.path, headers={"Accept-Encoding": "identity"})
            with connection.getresponse() as answer:
                _refuse_answer(answer)
                # One read of the socket each: a complete piece of a slow server could take for
                # ever.
                while piece := answer.read1(_PIECE):
                    yield piece
                _refuse_short(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if deadline.passed or isinstance(error, socket.timeout):
                raise SlowRetrievalError(_too_slow(self._seconds)) from error
            raise DownloadError(str(error) or type(error).__name__) from error
        except DownloadError as error:
            if deadline.passed:
                raise SlowRetrievalError(_too_slow(self._seconds)) from error
            raise
        finally:
            deadline.cancel()
            connection.close()
        if deadline.passed:
            # The end of the connection may have looked like the end of the answer.
            raise SlowRetrievalError(_too_slow(self._seconds))


def _refuse_answer(answer: http.client.HTTPResponse) -> None:
    if answer.status != http.client.OK:
        raise DownloadHTTPError(f"answered with {answer.status}", answer.status)
    if answer.getheader("Content-Encoding", "identity") != "identity":
        raise DownloadError("the answer is compressed, which was not asked for")


def _refuse_short(answer: http.client.HTTPResponse) -> None:
    if answer.length:
        raise DownloadError("the answer ended early")


def _too_slow(seconds: float) -> str:
    return f"no complete answer in {seconds:.0f} s"


def _asked_for(url: str) -> str:
    """Return the role of a URL of metadata, or the path of a target."""
    path = urlsplit(url).path
    before, _, name = path.rpartition("/")
    role = name.removesuffix(".json").rpartition(".")[2]
    if before.endswith("/metadata") and role in ROLES:
        return role
    return path.partition("/targets/")[2] or path
