"""fsspec file systems whose puts take long, or hang until a test releases them."""

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem


class Objects(MemoryFileSystem):
    """Objects in memory, under a name that may hold checkpoints."""

    protocol = "objects"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]


class SlowObjects(MemoryFileSystem):
    """Objects in memory, each of which is slow to put.

    Attributes:
        seconds: How long.
        sleep: Called with the seconds before each.
        puts: Paths, in order.
    """

    protocol = "slow"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    seconds: ClassVar[float] = 0.0
    sleep: ClassVar[Callable[[float], None]] = time.sleep
    puts: ClassVar[list[str]] = []

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        type(self).sleep(self.seconds)
        super().pipe_file(path, value, **options)
        self.puts.append(path)


GOES_ON = threading.Event()
"""One put hangs until this is set; others continue meanwhile."""

HANGS = threading.Event()
"""It does."""


def _hang() -> None:
    if not GOES_ON.is_set() and not HANGS.is_set():
        HANGS.set()
        assert GOES_ON.wait(60)


class HangingObjects(MemoryFileSystem):
    """Objects in memory; a put hangs before anyone sees the object."""

    protocol = "hanging"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        _hang()
        super().pipe_file(path, value, **options)


class HangingFiles(LocalFileSystem):
    """Files; a put hangs when half of it is written."""

    protocol = ("hangingfile", "file")

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str):
            path = path.removeprefix("hangingfile://")
        return super()._strip_protocol(path)

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        with self.open(path, "wb") as file:
            file.write(value[: len(value) // 2])
            file.flush()
            _hang()
            file.write(value[len(value) // 2 :])


for _protocol, _files in (
    ("objects", Objects), ("slow", SlowObjects), ("hanging", HangingObjects),
    ("hangingfile", HangingFiles),
):  # fmt: skip
    fsspec.register_implementation(_protocol, _files)
