"""Checkpoints as files behind any fsspec URL: a directory, S3, Google Cloud Storage, ...

One file is one bucket, replaced in one piece: written beside its place and moved there where
files are files, put whole where they are objects.

A put that hangs can end when its partition is another process's already. Where files are moved into
place, that process has taken the unfinished file away when it wrote its first own, so the move
fails. An object then replaces a newer one, which costs a longer replay: its label says what it
knows, and the next cycle writes the bucket again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import fsspec

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.ports import StoredRecords
from stream_scorer.state.checkpoint import Owner

_FILES_AT_ONCE = 32
_LENGTH_BYTES = 4
_UNFINISHED = ".unfinished"


class FileStore:
    """The files below ``URL/GROUP/TOPIC/PARTITION/``.

    Args:
        url: fsspec URL of a directory.
        owner: Whose state.

    Raises:
        SettingsError: The URL's protocol is unknown or its package is not installed.
    """

    rides = False
    topic = ""

    def __init__(self, url: str, owner: Owner) -> None:
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SettingsError(f"setting state.url: {url}: {error}", "correct it") from error
        self._url = url
        self._owner = owner
        self._root = "/".join((root.rstrip("/"), quote(owner.group, ""), quote(owner.topic, "")))
        # Objects appear whole by themselves.
        self._moves = "file" in _protocols(self._files)
        # Two processes that write one bucket at a time must not write one unfinished file.
        self._unfinished = f".{uuid4().hex[:8]}{_UNFINISHED}"
        self._prepared: set[int] = set()

    def read(self, partition: int) -> Iterator[StoredRecords]:
        """Yield a partition's records, some files at a time.

        Raises:
            UnavailableError: The store does not answer.
        """
        # Whoever takes a partition over reads it first.
        self._prepared.discard(partition)
        with self._asking():
            names = self._names(partition)
        for at in range(0, len(names), _FILES_AT_ONCE):
            with self._asking():
                records = [
                    record
                    for name in names[at : at + _FILES_AT_ONCE]
                    for record in self._records(partition, name)
                ]
            yield records

    def sample(self) -> StoredRecords:
        """Return one record of each partition that holds any.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._asking():
            self._files.invalidate_cache()
            if not self._files.exists(self._root):
                return []
            partitions = [path.rsplit("/", 1)[-1] for path in self._files.ls(self._root, False)]
            found = []
            for partition in sorted(int(each) for each in partitions if each.isdecimal()):
                for name in self._names(partition)[:1]:
                    found += self._records(partition, name)[:1]
            return found

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Put records in place; a bucket's records become one file, and none where all are null.

        Raises:
            UnavailableError: The store does not answer.
        """
        buckets: dict[str, list[bytes]] = {}
        for key, value in records:
            _, bucket, _ = self._owner.place(key) or (0, 0, 0)
            values = buckets.setdefault(f"{bucket:04d}", [])
            if value is not None:
                values.append(len(value).to_bytes(_LENGTH_BYTES, "little") + value)
        with self._asking():
            self._prepare(partition)
            for name, values in buckets.items():
                path = f"{self._root}/{partition}/{name}"
                if not values:
                    self._files.rm_file(path)
                elif self._moves:
                    self._files.pipe_file(path + self._unfinished, b"".join(values))
                    self._files.mv(path + self._unfinished, path)
                else:
                    self._files.pipe_file(path, b"".join(values))

    def _prepare(self, partition: int) -> None:
        """Before a partition's first file, make its directory, rid of what another left unfinished.

        What comes of a put that hangs or was killed is then nobody's.
        """
        if partition in self._prepared:
            return
        directory = f"{self._root}/{partition}"
        self._files.makedirs(directory, exist_ok=True)
        if self._moves:
            for path in self._files.ls(directory, False):
                if path.endswith(_UNFINISHED):
                    with suppress(FileNotFoundError):
                        self._files.rm_file(path)
        self._prepared.add(partition)

    def _names(self, partition: int) -> list[str]:
        """Return the names of a partition's files, ascending."""
        directory = f"{self._root}/{partition}"
        self._files.invalidate_cache()
        if not self._files.exists(directory):
            return []
        names = [path.rsplit("/", 1)[-1] for path in self._files.ls(directory, False)]
        return sorted(name for name in names if name.isdecimal())

    def _records(self, partition: int, name: str) -> list[tuple[bytes, bytes]]:
        """Return the records of one file; where it is cut off, so is its last record."""
        data = self._files.cat_file(f"{self._root}/{partition}/{name}")
        records: list[tuple[bytes, bytes]] = []
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + _LENGTH_BYTES], "little")
            value = data[at + _LENGTH_BYTES : at + _LENGTH_BYTES + length]
            records.append((self._owner.key(partition, int(name), len(records)), value))
            at += _LENGTH_BYTES + length
        return records

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._prepared.clear()
            raise UnavailableError(
                f"checkpoints at {self._url}: {error}", "check the store and the setting state.url"
            ) from error


def _protocols(files: Any) -> tuple[str, ...]:
    protocol = files.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
