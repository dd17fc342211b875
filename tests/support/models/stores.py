"""The shipped bundles in every kind of store."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec

from stream_scorer.settings import MODELS_DIRECTORY, Models

KINDS = ("folder", "file", "memory")


class Shelves:
    """A store of one kind with the shipped bundles, and a hand in it.

    Args:
        kind: One of :data:`KINDS`.
        root: A folder for it.
    """

    def __init__(self, kind: str, root: Path) -> None:
        self._files, self._root = fsspec.filesystem("file"), str(root / "store")
        given: dict[str, Any] = {"directory": Path(self._root)}
        if kind == "memory":
            self._files, self._root = fsspec.filesystem("memory"), f"/{uuid4().hex}/models"
        if kind == "s3":
            self._files, self._root = fsspec.filesystem("s3"), "ours/models"
        if kind != "folder":
            given = {"url": f"{kind}://{self._root}"}
        self.models = Models(cache=root / "cache", **given)
        self.cache = root / "cache"
        for path in (MODELS_DIRECTORY / "fraud").rglob("*"):
            if path.is_file():
                self.write(str(path.relative_to(MODELS_DIRECTORY)), path.read_bytes())

    def write(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, data)

    def read(self, name: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def remove(self, name: str) -> None:
        self._files.rm(f"{self._root}/{name}", recursive=True)
