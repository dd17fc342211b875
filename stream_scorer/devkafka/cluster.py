"""A real Apache Kafka of one or three nodes on this machine, as a context manager."""

import json
import random
import shutil
import socket
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from stream_scorer.devkafka import node as node_files
from stream_scorer.devkafka.broker import AddressInUseError, Broker
from stream_scorer.devkafka.jars import classpath
from stream_scorer.devkafka.java import find_java
from stream_scorer.devkafka.node import HOST, Ports
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.registry.server import RegistryServer
from stream_scorer.registry.sources import INDEX
from stream_scorer.settings import SCHEMAS_DIRECTORY

_ATTEMPTS = 5
_IDENTITY = "cluster.json"
_TOOL_SECONDS = 120.0
# Below the kernel's range for outgoing connections: otherwise a client that retries a broker that
# is down could be given that broker's port.
_PORT_RANGE = range(20_000, 30_000)
_JAVA_OPTIONS = (
    # The collector with the fewest threads: broker, generator and scorer share the cores.
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    # The compression libraries are native; a newer Java warns of each use otherwise.
    "--enable-native-access=ALL-UNNAMED",
)
# For short runs on few cores: the second compiler would occupy one of two cores for the first
# minute (the demo drained 100 k events/s with it and 175 k without, p50 100 ms instead of 26).
_QUICK_OPTIONS = ("-XX:TieredStopAtLevel=1",)
# The tools end before a better compiler would pay off.
_TOOL_OPTIONS = ("-Xmx256m", "-XX:TieredStopAtLevel=1")


class DevKafka:
    """Kafka nodes that live as long as the context.

    The kernel kills them when the thread that started them ends, for whatever reason, unless
    ``detached``.

    Args:
        nodes: 1 or 3 combined brokers and controllers; None: as in the directory's data, or 1.
        directory: Folder of data, configuration and logs; a later start finds the data. None is a
            temporary folder that is deleted at the end.
        config: Further options for every server.properties; they override.
        advertised: host:port by node (its index in ``brokers``) that is advertised to clients, for
            a proxy in front of it; ``brokers[i].address`` is where it really listens.
        registry: Whether to serve the schema registry of the project's files with it.
        detached: Whether the brokers outlive this process.
        quick: Whether Java runs without its second compiler; False compiles as Kafka is shipped.

    Example::

        with DevKafka() as kafka:
            Producer({"bootstrap.servers": kafka.bootstrap})
    """

    def __init__(
        self,
        nodes: int | None = None,
        directory: Path | None = None,
        config: Mapping[str, object] | None = None,
        advertised: Mapping[int, str] | None = None,
        *,
        registry: bool = False,
        detached: bool = False,
        quick: bool = True,
    ) -> None:
        if nodes not in {None, 1, 3}:
            raise SettingsError(f"devkafka: {nodes} nodes", "it runs 1 or 3")
        self.brokers: list[Broker] = []
        self._wanted = nodes
        self._given = directory
        self._config = dict(config or {})
        self._advertised = dict(advertised or {})
        self._registry = registry
        self._detached = detached
        self._java_options = (*_JAVA_OPTIONS, *(_QUICK_OPTIONS if quick else ()))
        self._stack = ExitStack()
        self._directory: Path | None = None
        self._registry_url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def directory(self) -> Path:
        """Folder of all its files."""
        if self._directory is None:
            raise UnavailableError("devkafka was not started", "use it in a with statement")
        return self._directory

    @property
    def log_directory(self) -> Path:
        """Folder of the brokers' own log files, ``node-0.log`` and so on."""
        return self.directory / "logs"

    @property
    def bootstrap(self) -> str:
        """host:port list for clients: the brokers' advertised addresses."""
        return ",".join(self._advertised.get(b.node, b.address) for b in self.brokers)

    @property
    def internal_bootstrap(self) -> str:
        """host:port list without advertised proxies."""
        return ",".join(broker.internal_address for broker in self.brokers)

    @property
    def registry_url(self) -> str:
        """URL of the schema registry."""
        if not self._registry_url:
            raise UnavailableError("devkafka has no registry", "ask for it: registry=True")
        return self._registry_url

    def start(self) -> None:
        """Start all nodes and return when each knows all of them.

        Raises:
            StreamScorerError: The jars are refused, or Kafka does not start; names the log.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all nodes; a temporary folder is deleted with its data."""
        alive = [broker for broker in self.brokers if broker.alive]
        for broker in alive:
            if self._given is None:
                broker.kill()
            else:
                broker.terminate()
        for broker in alive:
            broker.stop()
        self._registry_url = ""
        self._stack.close()

    @property
    def _tools_log(self) -> Path:
        return self.directory / "tools.properties"

    def _java(self, logging: Path, *options: str) -> list[str]:
        """Return the command of a JVM with Kafka's class path, without the main class."""
        named = f"-Dlog4j2.configurationFile={logging}"
        return [find_java(), *self._java_options, *options, named, "-cp", classpath()]

    def _start(self) -> None:
        if self._given is None:
            name = tempfile.mkdtemp(prefix="devkafka-")
            self._stack.callback(shutil.rmtree, name, ignore_errors=True)
            self._directory = Path(name)
        else:
            self._directory = self._given.resolve()
        self.log_directory.mkdir(parents=True, exist_ok=True)
        self._tools_log.write_text(node_files.logging(self.log_directory / "tools.log"))
        for _ in range(_ATTEMPTS):
            try:
                self._start_brokers()
                break
            except AddressInUseError:
                for broker in self.brokers:
                    if broker.alive:
                        broker.kill()
        else:
            raise UnavailableError(
                f"devkafka: no free ports after {_ATTEMPTS} attempts", f"see {self.log_directory}"
            )
        if self._registry:
            server = RegistryServer(seed_registry(self.directory), writable=True)
            self._stack.enter_context(server)
            self._registry_url = server.url

    def _start_brokers(self) -> None:
        cluster, ports = self._identity()
        self.brokers = [self._prepare(i, ports) for i in range(len(ports))]
        self._format(cluster)
        for broker in self.brokers:
            broker.start()
        for broker in self.brokers:
            broker.wait_ready(len(ports))

    def _identity(self) -> tuple[str, list[Ports]]:
        """Return the cluster's id and ports: those of the last start if they are still free."""
        path = self.directory / _IDENTITY
        kept = json.loads(path.read_text()) if path.exists() else {}
        has = len(kept.get("ports", []))
        nodes = self._wanted or has or 1
        if has not in {0, nodes}:
            raise SettingsError(
                f"{self.directory}: holds a devkafka with nodes: {has}",
                f"start it with --nodes {has}, or give {nodes} another directory",
            )
        cluster = kept.get("cluster") or urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        ports = [Ports(*numbers) for numbers in kept.get("ports", [])]
        if not ports or not all(_is_free(n) for p in ports for n in _numbers(p)):
            numbers = iter(free_ports(3 * nodes))
            ports = [Ports(next(numbers), next(numbers), next(numbers)) for _ in range(nodes)]
        path.write_text(json.dumps({"cluster": cluster, "ports": [_numbers(p) for p in ports]}))
        return cluster, ports

    def _prepare(self, node: int, ports: list[Ports]) -> Broker:
        """Write a node's configuration."""
        directory = self.directory / f"node-{node}"
        directory.mkdir(exist_ok=True)
        log = self.log_directory / f"node-{node}.log"
        for old in (log, log.with_suffix(".out")):
            if old.exists():
                old.replace(old.with_name(f"{old.name}.1"))
        settings = directory / "server.properties"
        settings.write_text(
            node_files.properties(
                node, ports, directory / "data", self._advertised.get(node), self._config
            )
        )
        logging = directory / "log4j2.properties"
        logging.write_text(node_files.logging(log))
        command = [*self._java(logging, "-Xmx768m"), "kafka.Kafka", str(settings)]
        return Broker(node, ports[node], command, log, detached=self._detached)

    def _format(self, cluster: str) -> None:
        """Format the nodes that have no data yet."""
        running = []
        for broker in self.brokers:
            directory = self.directory / f"node-{broker.node}"
            if not (directory / "data" / "meta.properties").exists():
                command = [
                    *self._java(self._tools_log, *_TOOL_OPTIONS),
                    *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
                    # In one word: an id may begin with a dash.
                    f"--cluster-id={cluster}",
                    *("--config", str(directory / "server.properties")),
                ]
                running.append(
                    subprocess.Popen(  # noqa: S603 our Java, our jars
                        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                    )
                )
        for process in running:
            said, _ = process.communicate(timeout=_TOOL_SECONDS)
            if process.returncode:
                last = (said.strip().splitlines() or ["no output"])[-1]
                raise UnavailableError(f"devkafka: format failed: {last}", "see its configuration")


def seed_registry(directory: Path) -> Path:
    """Return the folder of a devkafka's own registry, initially a copy of the shipped schemas.

    It stays with the data, because the records there contain its ids. Schemas that are registered
    there must not change the shipped files.
    """
    own = directory / "registry"
    if not own.exists():
        fresh = directory / ".registry"
        shutil.copytree(SCHEMAS_DIRECTORY, fresh, dirs_exist_ok=True)
        fresh.rename(own)
    return own


def seed(directory: Path) -> None:
    """Copy the shipped schemas into a folder that is empty, such as a new volume.

    Raises:
        SettingsError: It cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shipped = {path.name for path in SCHEMAS_DIRECTORY.iterdir()}
        # An interrupted copy is repeated.
        if any(path.name == INDEX or path.name not in shipped for path in directory.iterdir()):
            return
        # The index last: an interrupted copy is not a registry.
        for path in sorted(SCHEMAS_DIRECTORY.iterdir(), key=lambda path: path.name == INDEX):
            if path.is_file():
                shutil.copyfile(path, directory / path.name)
    except OSError as error:
        raise SettingsError(
            f"{directory}: {error.strerror}", "name a --directory that this user may write to"
        ) from error


def _numbers(ports: Ports) -> tuple[int, int, int]:
    return ports.client, ports.internal, ports.controller


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        # As Kafka binds: lingering connections of an earlier broker do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return ports that are free now; a server's log shows when one was taken meanwhile."""
    choice = random.SystemRandom()
    candidates = choice.sample(_PORT_RANGE, len(_PORT_RANGE))
    free: list[int] = []
    for port in candidates:
        if _is_free(port):
            free.append(port)
            if len(free) == count:
                return free
    raise UnavailableError(f"devkafka: fewer than {count} free ports", "stop other listeners")
