"""The Kafka that ``stream-scorer kafka start`` leaves running, found again by its state file.

The file exists twice: in the folder from which Kafka was started, and next to its data.

It names every process by id and start time, so that another process that later gets the same id is
never mistaken for ours.
"""

import fcntl
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from stream_scorer.devkafka import processes
from stream_scorer.devkafka.cluster import DevKafka, free_ports, seed_registry
from stream_scorer.devkafka.node import HOST
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.settings import Settings

DIRECTORY = Path(".dev") / "kafka"
_STATE = "state.json"
_REGISTRY = "registry"
_REGISTRY_SECONDS = 60.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class BackgroundProcess:
    """One of our processes: its kind, its id, and its start time (ticks since boot)."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Return whether this very process still runs."""
        return processes.started_at(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Running:
    """The Kafka of this folder.

    Attributes:
        bootstrap: host:port list.
        registry_url: Schema registry; empty without one.
        nodes: Number of brokers.
        directory: Its data.
        processes: Brokers and registry.
        folder: The other folder with its state file; empty if an earlier version wrote it.
    """

    bootstrap: str
    registry_url: str
    nodes: int
    directory: str
    processes: tuple[BackgroundProcess, ...]
    folder: str = ""

    @property
    def dead(self) -> list[str]:
        """Names of the processes that have ended."""
        return [process.name for process in self.processes if not process.alive]


def recorded(directory: Path | None = None) -> Running | None:
    """Return the contents of a state file, whether its processes still run or not.

    Args:
        directory: Folder of the data; None is the current folder's Kafka, wherever its data is.

    Raises:
        SettingsError: The file is damaged.
    """
    path = (directory or DIRECTORY) / _STATE
    try:
        state = json.loads(path.read_text())
        members = tuple(BackgroundProcess(**process) for process in state.pop("processes"))
        return Running(**state, processes=members)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise SettingsError(
            f"{path}: not readable: {error}", "delete it, and end its Kafka by hand"
        ) from error


def running() -> Running | None:
    """Return the Kafka that was started from the current folder, if all of it runs."""
    state = recorded()
    return None if state is None or state.dead else state


def connected(settings: Settings, fix: str) -> Settings:
    """Return settings with a cluster: their own, or the Kafka that runs in this folder.

    The schema registry of that Kafka is used too, unless the settings name one.

    Args:
        settings: With or without a cluster.
        fix: The message's advice if there is no cluster.

    Raises:
        SettingsError: The settings name no cluster, and no Kafka runs in this folder.
    """
    if settings.kafka.bootstrap:
        return settings
    found = running()
    if found is None:
        raise SettingsError("no Kafka cluster is named and no devkafka runs in this folder", fix)
    kafka = settings.kafka.model_copy(update={"bootstrap": found.bootstrap})
    registry = settings.registry
    if not registry.url:
        registry = registry.model_copy(update={"url": found.registry_url})
    return settings.model_copy(update={"kafka": kafka, "registry": registry})


def start(
    nodes: int | None = None, directory: Path | None = None, *, registry: bool = True
) -> tuple[Running, bool]:
    """Start Kafka so that it outlives this process; running processes are left alone.

    Args:
        nodes: 1 or 3; None: as in the existing data, else 1.
        directory: Folder of its data; None is :data:`DIRECTORY`.
        registry: Whether to start the schema registry with it.

    Returns:
        The running Kafka, and whether it had to be started.

    Raises:
        StreamScorerError: It does not start, or a different one is running.
    """
    data = (directory or DIRECTORY).resolve()
    with _alone(DIRECTORY, data):
        state = recorded()
        if state and not state.dead:
            _refuse_other(state, nodes, directory and data, registry=registry)
            return state, False
        if state:
            _end(state)
        devkafka = DevKafka(nodes, data, detached=True)
        url = ""
        devkafka.start()
        try:
            members = [_process(f"broker {b.node}", b.pid) for b in devkafka.brokers]
            if registry:
                member, url = _start_registry(data)
                members.append(member)
            state = Running(
                devkafka.bootstrap,
                url,
                len(devkafka.brokers),
                str(data),
                tuple(members),
                str(DIRECTORY.resolve()),
            )
            for place in {data, DIRECTORY.resolve()}:
                fresh = place / f"{_STATE}.new"
                fresh.write_text(json.dumps(asdict(state), indent=1))
                fresh.replace(place / _STATE)
        except BaseException:
            devkafka.stop()
            raise
        return state, True


def stop(directory: Path | None = None) -> Running | None:
    """Stop a Kafka; return what was running, or None.

    Args:
        directory: As in :func:`recorded`.

    Raises:
        SettingsError: The state file is damaged.
    """
    if recorded(directory) is None:
        return None
    with _alone(directory or DIRECTORY):
        state = recorded(directory)
        if state is None:
            return None
        alive = len(state.dead) < len(state.processes)
        _end(state)
        return state if alive else None


@contextmanager
def _alone(*directories: Path) -> Iterator[None]:
    """Lock directories, which are created, so that only one start or stop runs at a time."""
    with ExitStack() as locks:
        for directory in sorted({each.resolve() for each in directories}):
            directory.mkdir(parents=True, exist_ok=True)
            file = locks.enter_context((directory / ".lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_other(
    state: Running, nodes: int | None, directory: Path | None, *, registry: bool
) -> None:
    """Raise if the running Kafka differs from the request."""
    if nodes is not None and nodes != state.nodes:
        differs = f"{state.nodes} nodes, not {nodes}"
    elif directory is not None and str(directory) != state.directory:
        differs = f"data in {state.directory}"
    elif registry and not state.registry_url:
        differs = "no schema registry"
    else:
        return
    raise SettingsError(
        f"devkafka runs already, with {differs}", "stop it first: stream-scorer kafka stop"
    )


def _process(name: str, pid: int) -> BackgroundProcess:
    started = processes.started_at(pid)
    if started is None:
        raise UnavailableError(f"devkafka: {name} ended immediately", "see its log")
    return BackgroundProcess(name, pid, started)


def _end(state: Running) -> None:
    """End all processes (registry first, then all brokers) and delete the state file."""
    processes.end_all([(p.pid, p.started) for p in state.processes], _STOP_SECONDS)
    for place in {DIRECTORY, Path(state.directory), Path(state.folder or DIRECTORY)}:
        other = recorded(place)
        if other is not None and other.processes == state.processes:
            (place / _STATE).unlink(missing_ok=True)


def _start_registry(data: Path) -> tuple[BackgroundProcess, str]:
    """Start the registry's command and return once it answers."""
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    log = data / "logs" / "registry.out"
    child = processes.start(
        [
            sys.executable, "-c", "from stream_scorer.cli import main; main()", "schemas", "serve",
            "--directory", str(seed_registry(data)), "--port", str(port), "--writable",
        ],
        log,
        detached=True,
    )  # fmt: skip
    try:
        _wait_for_registry(child, url, log)
    except BaseException:
        child.kill()
        child.wait()
        raise
    return _process(_REGISTRY, child.pid), url


def _wait_for_registry(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _REGISTRY_SECONDS
    while not _answers(f"{url}/subjects"):
        if child.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines() or ["no output"]
            raise UnavailableError(f"the schema registry ended: {said[-1]}", f"see {log}")
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"the schema registry does not answer after {_REGISTRY_SECONDS:.0f} s",
                f"see {log}",
            )
        time.sleep(0.05)


def _answers(url: str) -> bool:
    # No proxy from the environment: the address is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1) as answer:
            return answer.status == 200  # noqa: PLR2004 HTTP's OK
    except OSError:
        return False
