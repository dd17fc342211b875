"""Opens the file system of a setting's URL; a failure is an error of one line.

The exceptions of a file system's library become one of two errors: the store cannot be reached now,
or the setting is wrong. A URL that can be opened but not used is refused, too. Secrets in a URL
appear in no message.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

import fsspec

from stream_scorer.errors import SettingsError, StreamScorerError, UnavailableError
from stream_scorer.redaction import remember

_USER = re.compile(r"(?<=://)\S*@")
_QUERY = re.compile(r"\?\S*")
_HIDDEN = "***"
_LEAST_SECRET = 3
"""A password of fewer characters would be found in every other word."""
S3_LIMITS: Final[dict[str, Any]] = {
    "connect_timeout": 5.0, "read_timeout": 10.0, "retries": {"total_max_attempts": 2},
}  # fmt: skip
"""Seconds for a connection, and between two pieces of an answer. s3fs itself repeats a request."""


class FileUrl:
    """A URL of a directory, and its form for messages.

    Args:
        url: The value of the setting.
        setting: Its name.
        holds: What is stored there, in the plural.

    Attributes:
        shown: The URL without user, password and query.
    """

    def __init__(self, url: str, setting: str, holds: str) -> None:
        self._url = url
        self._setting = setting
        self._holds = holds
        self.shown = _printable(_redacted(url))
        found = _USER.search(url)
        password = found.group()[:-1].partition(":")[2] if found else ""
        self._secrets = [s for s in (password, unquote(password)) if len(s) >= _LEAST_SECRET]
        for secret in self._secrets:
            remember(secret)

    def open(self, *, lasting: bool = True) -> tuple[Any, str]:
        """Return (the file system, the path in it).

        Args:
            lasting: Whether what is written there must outlive the process.

        Raises:
            SettingsError: The URL is not valid, its package is missing, or it is not suitable for
                our files.
            UnavailableError: The store cannot be reached.
        """
        if "::" in self._url:
            raise self._wrong(
                f"a chain of file systems, such as a cache, may give old {self._holds}",
                "name the store itself",
            )
        if "\0" in self._url:
            raise self._wrong("it holds a NUL byte", "take it out")
        try:
            files, path = fsspec.core.url_to_fs(self._url, **self._limits())
        except OSError as error:
            raise self.unavailable(error) from error
        except Exception as error:  # a URL may use any library, with its own errors
            raise self._wrong(self._text(error), "correct it") from error
        if lasting and "memory" in protocols(files):
            raise self._wrong(
                f"what is in memory ends with the process, {self._holds} too", "name a lasting one"
            )
        if not self._url.partition("://")[2].strip("/") and "://" in self._url:
            raise self._wrong("the path is empty", "name a directory")
        return files, path

    def _limits(self) -> dict[str, Any]:
        """Return options by which a store that accepts a request and never answers is an error.

        fsspec's own configuration takes precedence.
        """
        if self._url.partition("://")[0] not in {"s3", "s3a"}:
            return {}
        if "config_kwargs" in fsspec.config.conf.get("s3", {}):
            return {}
        return {"config_kwargs": S3_LIMITS}

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Convert the exceptions of a file system to errors of one line.

        Raises:
            UnavailableError: It does not answer, or the operation fails.
        """
        try:
            yield
        except Exception as error:
            if not of_the_store(error):
                raise
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> UnavailableError:
        """Return the error for a store whose operation failed."""
        return UnavailableError(
            f"{self._holds} at {self.shown}: {self._text(error)}",
            f"check the store and the setting {self._setting}",
        )

    def late(self, seconds: float) -> UnavailableError:
        """Return the error for a store that gave no answer for so long."""
        return self.unavailable(TimeoutError(f"no answer for {seconds:.0f} seconds"))

    def _wrong(self, why: str, fix: str) -> SettingsError:
        return SettingsError(f"setting {self._setting}: {self.shown}: {why}", fix)

    def _text(self, error: Exception) -> str:
        """Return the first line of an error, without secrets, or its kind where it has none."""
        lines = str(error).strip().splitlines()
        text = _redacted(lines[0]) if lines else ""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _printable(text) or type(error).__name__


def of_the_store(error: Exception) -> bool:
    """Return whether a store, or the library that speaks to it, raised an error.

    A cloud's library has its own error classes, which are not ``OSError``. Python's other classes,
    such as ``TypeError``, are a defect of ours or of the library.
    """
    if isinstance(error, StreamScorerError):
        return False
    store_like = isinstance(error, OSError | ValueError | NotImplementedError)
    return store_like or type(error).__module__ != "builtins"


def protocols(files: Any) -> tuple[str, ...]:
    """Return all names of a file system's protocol."""
    protocol = files.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _redacted(text: str) -> str:
    return _QUERY.sub(f"?{_HIDDEN}", _USER.sub(f"{_HIDDEN}@", text))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
