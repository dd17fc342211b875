"""Checkpoints as files at any fsspec URL: a directory, S3, Google Cloud Storage, ...

One file is one bucket and is replaced atomically: a file is written next to its place and moved
there; an object is put in one piece.

A put that hangs may end when another process already owns its partition. With files, the new
owner deletes unfinished files before it writes its first, so the move fails. An object then
replaces a newer one. This costs a longer replay, because its label states its input offset; the
next cycle writes the bucket again.

All files together are replaced in two steps. First they are *staged*: written next to their places,
where no process reads them. Then a marker file ``placing`` is written, they are moved, and the
marker is removed. An interruption before the marker changes nothing. After it, the marker remains:
readers refuse, and the next call of ``finish`` moves the files that are still staged.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import quote
from uuid import uuid4

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.file_url import FileUrl, protocols
from stream_scorer.ports import StoredRecords
from stream_scorer.state.checkpoints import bucket_file
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.stores.background_read import in_background

_FILES_AT_ONCE = 32
_UNFINISHED = ".unfinished"
_STAGED = ".staged"
_PLACING = "placing"
FILE_BYTES_MOST = 1 << 30
"""Maximum size of a file in bytes. A bucket is one of 1,024 of its partition, so it is smaller."""
_NAME = re.compile(r"[0-9]{4}")
_PARTITION = re.compile(r"0|[1-9][0-9]{0,9}")


class FileStore:
    """The files below ``URL/GROUP/TOPIC/PARTITION/``.

    Args:
        url: fsspec URL of a directory.
        owner: The owner of the state.

    Raises:
        SettingsError: The URL's protocol is unknown, its package is not installed, or it cannot
            hold a checkpoint.
        UnavailableError: The place cannot be reached.
    """

    transactional = False
    topic = ""

    def __init__(self, url: str, owner: Owner) -> None:
        self._url = FileUrl(url, "state.url", "checkpoints")
        self._files, root = self._url.open()
        self._owner = owner
        self._root = "/".join((root.rstrip("/"), quote(owner.group, ""), quote(owner.topic, "")))
        # Objects are written atomically.
        self._moves = "file" in protocols(self._files)
        # Two processes that write the same bucket must not write the same unfinished file.
        self._unfinished = f".{uuid4().hex[:8]}{_UNFINISHED}"
        self._prepared: set[int] = set()

    def read(self, partition: int) -> Iterator[StoredRecords]:
        """Yield a partition's records, some files at a time; empty lists while the store is slow.

        Raises:
            StateError: Files were being put in place, and not all are.
            UnavailableError: The store does not answer.
            ValueError: A file is damaged; names its bucket.
        """
        yield from in_background(lambda: self._read(partition), self._url.late)

    def _read(self, partition: int) -> Iterator[StoredRecords]:
        self._refuse_half()
        # A process that takes over a partition reads it first.
        self._prepared.discard(partition)
        with self._asking():
            names = self._names(partition)
        for at in range(0, len(names), _FILES_AT_ONCE):
            found = [
                (name, self._bytes_of(partition, name)) for name in names[at : at + _FILES_AT_ONCE]
            ]
            yield [
                record for name, data in found for record in self._records(partition, name, data)
            ]

    def sample(self) -> StoredRecords:
        """Return one record of each partition whose first file is complete.

        A slow store is waited for.

        Raises:
            StateError: Files were being put in place, and not all are.
            UnavailableError: The store does not answer, or gave nothing for a minute.
        """
        found = in_background(self._sample, self._url.late)
        return [record for records in found for record in records]

    def _sample(self) -> Iterator[StoredRecords]:
        self._refuse_half()
        with self._asking():
            partitions = self._partitions()
        for partition in partitions:
            with self._asking():
                first = self._names(partition)[:1]
            for name in first:
                with suppress(ValueError):
                    data = self._bytes_of(partition, name)
                    yield self._records(partition, name, data)[:1]

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write records. Those of a bucket become one file; it is deleted if all values are null.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._asking():
            self._prepare(partition)
            for name, data in self._data(records).items():
                path = f"{self._root}/{partition}/{name}"
                if data:
                    self._put(path, data)
                else:
                    self._files.rm_file(path)

    def clear(self, partition: int) -> None:
        """Remove a partition's files, damaged ones too.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._asking():
            for name in self._names(partition):
                self._files.rm_file(f"{self._root}/{partition}/{name}")

    # -- all files together -----------------------------------------------------------------

    def stage(self, records: Iterable[tuple[int, Sequence[tuple[bytes, bytes]]]]) -> None:
        """Write the complete buckets of (partition, records) next to their places, for ``place``.

        Raises:
            UnavailableError: The store does not answer; readers still see the old files.
        """
        self.discard()
        known: set[int] = set()
        for partition, each in records:
            with self._asking():
                if partition not in known:
                    self._files.makedirs(f"{self._root}/{partition}", exist_ok=True)
                    known.add(partition)
                for name, data in self._data(each).items():
                    self._files.pipe_file(f"{self._root}/{partition}/{name}{_STAGED}", data)

    def place(self, note: bytes) -> None:
        """Move all staged files to their places.

        Args:
            note: ``placing`` returns it to the process that finishes an interrupted move.

        Raises:
            UnavailableError: The store does not answer; readers refuse until it is finished.
        """
        with self._asking():
            self._put(f"{self._root}/{_PLACING}", note)
        self.finish()

    def placing(self) -> bytes | None:
        """Return the note of an interrupted ``place``; None without one.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._asking():
            self._files.invalidate_cache()
            path = f"{self._root}/{_PLACING}"
            return bytes(self._files.cat_file(path)) if self._files.exists(path) else None

    def finish(self) -> None:
        """Move the files that are still staged to their places.

        Raises:
            UnavailableError: The store does not answer; readers refuse until it is finished.
        """
        with self._asking():
            for path in self._staged():
                self._files.mv(path, path.removesuffix(_STAGED))
            self._files.rm_file(f"{self._root}/{_PLACING}")

    def discard(self) -> None:
        """Delete staged files, even if they were being moved into place.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._asking():
            staged = self._staged()
            if self._files.exists(f"{self._root}/{_PLACING}"):
                self._files.rm_file(f"{self._root}/{_PLACING}")
            for path in staged:
                self._files.rm_file(path)

    def _refuse_half(self) -> None:
        if self.placing() is not None:
            raise StateError(
                f"checkpoints at {self._url.shown}: `state repartition` was cut off while it put "
                "the new files in place",
                "with every scorer of the group stopped, again: stream-scorer state repartition",
            )

    # -- paths and bytes --------------------------------------------------------------------

    def _partitions(self) -> list[int]:
        """Return the numbers of the partitions that have a directory, ascending."""
        return sorted(int(name) for name in self._listed(self._root) if _PARTITION.fullmatch(name))

    def _prepare(self, partition: int) -> None:
        """Make a partition's directory before its first file, and delete others' unfinished files.

        A put that hangs or was killed then has no file to move.
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
        names = self._listed(f"{self._root}/{partition}")
        return sorted(filter(_NAME.fullmatch, names))

    def _bytes_of(self, partition: int, name: str) -> bytes:
        """Return a file's bytes, after a check of its size.

        Raises:
            ValueError: It is larger than any bucket.
        """
        path = f"{self._root}/{partition}/{name}"
        with self._asking():
            size = self._files.size(path) or 0
            data = b"" if size > FILE_BYTES_MOST else self._files.cat_file(path)
        if size > FILE_BYTES_MOST:
            raise ValueError(
                f"bucket {int(name)}: a file of {size} bytes; at most {FILE_BYTES_MOST}"
            )
        return bytes(data)

    def _staged(self) -> list[str]:
        """Return the paths of all staged files."""
        return [
            f"{self._root}/{partition}/{name}"
            for partition in self._partitions()
            for name in sorted(self._listed(f"{self._root}/{partition}"))
            if name.endswith(_STAGED)
        ]

    def _listed(self, directory: str) -> list[str]:
        self._files.invalidate_cache()
        if not self._files.exists(directory):
            return []
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in self._files.ls(directory, False)]

    def _put(self, path: str, data: bytes) -> None:
        """Write a file atomically."""
        if self._moves:
            self._files.pipe_file(path + self._unfinished, data)
            self._files.mv(path + self._unfinished, path)
        else:
            self._files.pipe_file(path, data)

    def _data(self, records: Iterable[tuple[bytes, bytes | None]]) -> dict[str, bytes]:
        """Return the files' bytes by name for records; nothing if all are null."""
        values: dict[str, list[bytes]] = {}
        for key, value in records:
            _, bucket, _ = self._owner.place(key) or (0, 0, 0)
            own = values.setdefault(f"{bucket:04d}", [])
            if value is not None:
                own.append(value)
        return {name: bucket_file.pack(own) if own else b"" for name, own in values.items()}

    def _records(self, partition: int, name: str, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the records of one file."""
        try:
            values = bucket_file.unpack(data)
        except ValueError as error:
            raise ValueError(f"bucket {int(name)}: {error}") from error
        return [
            (self._owner.key(partition, int(name), part), value)
            for part, value in enumerate(values)
        ]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            with self._url.asking():
                yield
        except UnavailableError:
            # A directory may have been deleted since.
            self._prepared.clear()
            raise
