"""Kafka's jars: fetched once, each pinned by its sha256, kept in the user's cache folder.

``jars.lock`` is a flat list, so no dependency graph is resolved here. Maven copies the jars if the
machine has it (5 s); otherwise jgo downloads them in Python (20 s). In both cases they are hashed.
A warm start compares size and times with those of the last hashing, and hashes only what differs.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from stream_scorer.errors import SettingsError, StreamScorerError, UnavailableError

KAFKA_VERSION = "4.3.1"
LOCK = Path(__file__).with_name("jars.lock")
_RECORD = "verified.json"
_MAVEN_SECONDS = 300
_DOWNLOADS = 8


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def maven_path(self) -> str:
        """Path inside a Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """Return the pinned jars."""
    jars = []
    for line in lock.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinate, digest = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, digest))
    return jars


def cache_directory() -> Path:
    """Return the folder of the jars: in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stream-scorer" / f"kafka-{KAFKA_VERSION}"


def classpath(directory: Path | None = None, lock: Path = LOCK) -> str:
    """Return the class path of exactly the pinned jars, fetched when missing.

    Args:
        directory: Folder of the jars; default :func:`cache_directory`.
        lock: The list that pins them.

    Raises:
        StreamScorerError: A jar is not the pinned one; names it.
        UnavailableError: They are missing and cannot be fetched.
        SettingsError: They are missing and the extra that fetches them is not installed.
    """
    directory = directory or cache_directory()
    jars = read_lock(lock)
    if not _known(directory, jars):
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory):
            missing = [jar for jar in jars if not (directory / jar.name).exists()]
            if missing:
                _fetch(missing, directory)
            _verify(directory, jars)
    return os.pathsep.join(str(directory / jar.name) for jar in jars)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process at a time fill the folder."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stamp(path: Path) -> list[int] | None:
    """Return a stamp that changes with the file; its change time cannot be set back by hand."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _recorded(directory: Path) -> dict[str, list[object]]:
    """Return, by name, the hash and the stamp of the last verification."""
    try:
        return dict(json.loads((directory / _RECORD).read_text()))
    except (OSError, ValueError):
        return {}


def _known(directory: Path, jars: Sequence[Jar]) -> bool:
    recorded = _recorded(directory)
    return all(recorded.get(jar.name) == [jar.sha256, _stamp(directory / jar.name)] for jar in jars)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_other(jar: Jar, path: Path) -> None:
    """Raise if a file is not the pinned one."""
    if (found := _digest(path)) != jar.sha256:
        raise StreamScorerError(
            f"{path}: sha256 is {found}, pinned is {jar.sha256}",
            "the file is not the released one: delete it, and it is fetched again",
        )


def _verify(directory: Path, jars: Sequence[Jar]) -> None:
    """Hash jars without a record of the same stamp; write the record."""
    recorded = _recorded(directory)
    record = {}
    for jar in jars:
        path = directory / jar.name
        entry: list[object] = [jar.sha256, _stamp(path)]
        if recorded.get(jar.name) != entry:
            _refuse_other(jar, path)
        record[jar.name] = entry
    fresh = directory / f"{_RECORD}.new"
    fresh.write_text(json.dumps(record))
    fresh.replace(directory / _RECORD)


def _fetch(jars: Sequence[Jar], directory: Path) -> None:
    """Fetch jars into the folder; only a complete and verified file gets its final name."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as name:
        staging = Path(name)
        here = [jar for jar in jars if _from_repository(jar, staging)]
        rest = [jar for jar in jars if jar not in here]
        if rest and not _from_maven(rest, staging):
            _from_jgo(rest, staging)
        for jar in jars:
            _refuse_other(jar, staging / jar.name)
            (staging / jar.name).replace(directory / jar.name)


def _from_repository(jar: Jar, staging: Path) -> bool:
    """Copy a jar from the machine's Maven repository if the right one is there."""
    repository = Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")
    path = repository / jar.maven_path
    if not path.is_file() or _digest(path) != jar.sha256:
        return False
    shutil.copyfile(path, staging / jar.name)
    return True


def _from_maven(jars: Sequence[Jar], staging: Path) -> bool:
    """Let the machine's Maven copy the jars, with its own mirrors; False when it cannot."""
    maven = shutil.which("mvn")
    if not maven:
        return False
    dependencies = "".join(
        f"<dependency><groupId>{jar.group}</groupId><artifactId>{jar.artifact}</artifactId>"
        f"<version>{jar.version}</version><exclusions><exclusion><groupId>*</groupId>"
        "<artifactId>*</artifactId></exclusion></exclusions></dependency>"
        for jar in jars
    )
    project = staging / "pom.xml"
    project.write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>stream-scorer</groupId>"
        "<artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
    try:
        subprocess.run(  # noqa: S603 the machine's Maven, our project
            [maven, "-B", "-q", "-f", project, "dependency:copy-dependencies",
             f"-DoutputDirectory={staging}"],
            check=True, capture_output=True, timeout=_MAVEN_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return all((staging / jar.name).exists() for jar in jars)


def _from_jgo(jars: Sequence[Jar], staging: Path) -> None:
    """Download the jars in Python, from the repositories of jgo's own configuration."""
    try:
        maven = import_module("jgo.maven")
        settings = import_module("jgo.config").GlobalSettings.load()
    except ImportError as error:
        raise SettingsError(
            "Kafka's jars are not here and jgo, which fetches them, is not installed",
            "install stream-scorer with its extra `kafka`, or name a cluster with --bootstrap",
        ) from error
    context = maven.MavenContext(
        repo_cache=staging / "repository",
        # The caller's repositories come first; without any, jgo's default is used.
        remote_repos=dict(settings.repositories) or None,
        timeout=60,
    )

    def bring(jar: Jar) -> None:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        Path(component.artifact().resolve()).replace(staging / jar.name)

    try:
        with ThreadPoolExecutor(_DOWNLOADS) as downloads:
            list(downloads.map(bring, jars))
    except Exception as error:  # jgo raises RuntimeError, requests' and the system's errors
        raise UnavailableError(
            f"Kafka's jars could not be fetched: {error}",
            "the first start needs the network, or name a cluster with --bootstrap",
        ) from error
