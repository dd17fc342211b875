"""A store of bundles behind any fsspec URL: S3, Google Cloud Storage, HTTP, memory, ...

Manifest, signature and the list of files are read from the store each time. The other files may
come from a private cache, by the hash in the manifest. Everything is verified as in a local folder,
and is only bytes before that.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream_scorer import settings
from stream_scorer.core.events.plan import PARTS
from stream_scorer.errors import ModelError, SettingsError, StreamScorerError
from stream_scorer.file_url import FileUrl, protocols
from stream_scorer.models.bundles.bundle import MANIFEST
from stream_scorer.models.bundles.plan_signature import BYTES_MOST, SUFFIX
from stream_scorer.models.bundles.read_files import refused_kind, refused_size
from stream_scorer.models.stores.cache import FileCache
from stream_scorer.models.stores.store import (
    PLAN,
    PLAN_BYTES_MOST,
    BundleStore,
    FolderStore,
    PlanMissingError,
    Stored,
    stored_under,
)

_DEPTH = 3
_CACHE = Path("~/.cache/stream-scorer/models")


def open_store(models: settings.Models) -> BundleStore:
    """Return the store in the settings.

    Raises:
        SettingsError: The URL is not valid, its package is missing, or the cache is not a private
            folder.
        UnavailableError: The store cannot be reached.
    """
    if not models.url:
        return FolderStore(models.directory)
    url = FileUrl(models.url, "models.url", "bundles")
    files, path = url.open(lasting=False)
    if "file" in protocols(files):
        return FolderStore(Path(path))
    try:
        cache = FileCache(models.cache or _CACHE.expanduser())
    except RuntimeError as error:
        raise SettingsError("setting models.cache: this user has no home", "set it") from error
    cache.prepare()
    return UrlStore(url, files, path, cache)


def folder_for(out: Path | None, models: settings.Models) -> Path:
    """Return the folder for a new bundle: the one that was asked for, or the store's.

    Raises:
        SettingsError: None was asked for, and the store is at a URL.
    """
    if out is None and models.url:
        raise SettingsError(
            "the model store is at a URL (setting models.url), which is not written to",
            "name a folder: --out",
        )
    return out or models.directory


class _FileSystem:
    """A file system whose errors become one-line errors of this program."""

    def __init__(self, url: FileUrl, files: Any) -> None:
        self._url = url
        self._files = files

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Convert the errors of a file system's library.

        Raises:
            FileNotFoundError: Unchanged, like IsADirectoryError: the caller handles it.
            UnavailableError: For every other error.
        """
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, StreamScorerError):
            raise
        except Exception as error:
            raise self._url.unavailable(error) from error

    def entries(self, path: str) -> dict[str, str]:
        """Return the names and kinds of the entries of a folder, as the store has them now."""
        with self.asking():
            self._files.invalidate_cache()
            found = self._files.ls(path, detail=True)
        at = path.rstrip("/").lstrip("/")
        names = {}
        for entry in found:
            name = str(entry["name"]).rstrip("/").lstrip("/")
            # Some stores list an entry for the folder itself.
            if name != at:
                names[name.rpartition("/")[2]] = str(entry["type"])
        return names

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file's bytes, as the store has it now; None if there are more than ``most``."""
        with self.asking():
            # With a stale listing, S3 refuses to read an object that was replaced since.
            self._files.invalidate_cache()
            with self._files.open(path, "rb") as file:
                data = bytes(file.read(most + 1))
        return data if len(data) <= most else None

    def write(self, path: str, data: bytes) -> None:
        """Write a file.

        Raises:
            ModelError: The file system cannot be written to.
        """
        with self.asking():
            try:
                self._files.pipe_file(path, data)
            except (NotImplementedError, PermissionError) as error:
                raise ModelError(
                    f"{self._url.shown}: cannot be written to ({str(error) or 'read only'})",
                    "give the right to write there, or use a store that can be written to",
                ) from error


class UrlStore:
    """A store behind a URL.

    Args:
        url: The URL, for messages.
        files: The fsspec file system.
        root: The path in it that contains ``NAME/VERSION/``.
        cache: The cache of verified files.
    """

    def __init__(self, url: FileUrl, files: Any, root: str, cache: FileCache) -> None:
        self._url = url
        self._place = _FileSystem(url, files)
        self._files = files
        self._root = root.rstrip("/")
        self._cache = cache

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return self._url.shown

    def bundles(self) -> list[Stored]:
        """Return the bundles in the store, by name and ascending version."""
        with self._place.asking():
            self._files.invalidate_cache()
            # By default fsspec treats a folder that cannot be listed as empty: an outage would look
            # like a store without bundles.
            try:
                found = self._files.find(self._root, maxdepth=_DEPTH, on_error="raise")
            except FileNotFoundError:
                found = []
            paths = [str(path) for path in found]
        parts = [path.split("/")[-_DEPTH:] for path in paths if path.count("/") >= _DEPTH - 1]
        return stored_under((name, version) for name, version, file in parts if file == MANIFEST)

    def folder(self, stored: Stored) -> "RemoteFolder":
        """Return a bundle's folder."""
        path = f"{self._root}/{stored.name}/{stored.version}"
        shown = f"{self.shown.rstrip('/')}/{stored.name}/{stored.version}"
        return RemoteFolder(self._place, path, shown, stored.label, self._cache)

    def add(self, stored: Stored, files: Mapping[str, bytes]) -> None:
        """Write a bundle; the store lists it when its manifest is there, which is written last.

        Args:
            stored: Its name and version.
            files: Its files by name, with the manifest.

        Raises:
            ModelError: The version is there with another manifest, or the store refuses to be
                written.
            UnavailableError: The store does not answer; the call can be repeated.
        """
        path = f"{self._root}/{stored.name}/{stored.version}"
        try:
            known = self._place.read(f"{path}/{MANIFEST}", len(files[MANIFEST]))
        except FileNotFoundError:
            pass
        else:
            if known != files[MANIFEST]:
                raise ModelError(f"bundle {stored.label}: another one is in {self.shown}")
            return
        for name in sorted(files, key=lambda each: each == MANIFEST):
            self._place.write(f"{path}/{name}", files[name])

    def plan(self, name: str) -> str:
        """Return the text of ``plan.toml`` next to a model's versions."""
        text = self._plan_text(name, PLAN)
        if text is None:
            what = f"plan {self.shown.rstrip('/')}/{name}/{PLAN}"
            raise PlanMissingError(f"{what}: is not there", "name a file: --plan")
        return text

    def plan_parts(self, name: str) -> dict[str, str]:
        """Return the texts of the plan's further files by name."""
        found = {part: self._plan_text(name, part) for part in PARTS}
        return {part: text for part, text in found.items() if text is not None}

    def _plan_text(self, name: str, file: str) -> str | None:
        """Return the text of one file of a plan; None if it does not exist."""
        what = f"plan {self.shown.rstrip('/')}/{name}/{file}"
        try:
            data = self._place.read(f"{self._root}/{name}/{file}", PLAN_BYTES_MOST)
        except FileNotFoundError:
            return None
        if data is None:
            raise SettingsError(f"{what}: is larger than 1 MiB", "correct the file")
        try:
            return data.decode()
        except ValueError as error:
            raise SettingsError(f"{what}: {error}", "correct the file") from error

    def plan_signature(self, name: str) -> bytes | None:
        """Return the signature file next to ``plan.toml``; None if there is none."""
        try:
            return self._place.read(f"{self._root}/{name}/{PLAN}{SUFFIX}", BYTES_MOST)
        except FileNotFoundError:
            return None


class RemoteFolder:
    """A bundle in a :class:`UrlStore`.

    Args:
        place: The file system.
        path: The folder's path in it.
        shown: The folder's URL, for messages.
        expected: ``NAME:VERSION``.
        cache: The cache of verified files.
    """

    def __init__(
        self, place: _FileSystem, path: str, shown: str, expected: str, cache: FileCache
    ) -> None:
        self._place = place
        self._path = path
        self._shown = shown
        self._expected = expected
        self._cache = cache

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return self._shown

    @property
    def expected(self) -> str:
        """``NAME:VERSION`` of the bundle that the store keeps here."""
        return self._expected

    def names(self) -> frozenset[str]:
        """Return the names of the files in the folder; an entry that is not a file is refused."""
        try:
            found = self._place.entries(self._path)
        except FileNotFoundError as error:
            raise self._missing("the folder") from error
        for name, kind in found.items():
            if kind != "file":
                raise refused_kind(self.shown, name)
        return frozenset(found)

    def read(self, name: str, most: int, digest: str | None = None) -> bytes:
        """Return a file's bytes; from the cache if a digest is given and the cache has it."""
        kept = self._cache.get(digest, most) if digest else None
        if kept is not None:
            return kept
        try:
            data = self._place.read(f"{self._path}/{name}", most)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise self._missing(name) from error
        if data is None:
            raise refused_size(self.shown, name, most)
        if digest:
            self._cache.put(digest, data)
        return data

    def _missing(self, name: str) -> ModelError:
        return ModelError(f"bundle {self.shown}: {name} is not there", "copy the complete bundle")
