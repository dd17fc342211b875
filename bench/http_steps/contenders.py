"""The servers of ``bench/http.py``: each in one process, on the server's core, behind one model."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness.process import Contender, Entry, until
from bench.http_steps import echo, machine
from stream_scorer.devkafka import processes
from stream_scorer.devkafka.child import Child, as_environment
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.security.client_changes import ClientChanges
from stream_scorer.settings import load_settings

ECHO, STALLING, OURS, MLSERVER, FASTAPI = "echo", "stalling", "ours", "mlserver", "fastapi"
NAME = "fraud"
MODEL = "fraud:1.1.1"
START_SECONDS = 180.0
_STOP_SECONDS = 15.0
_NO_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients file of a run, with one client.

    Attributes:
        file: The file.
        key: The client's key, made for this run.
    """

    file: Path
    key: str

    @classmethod
    def made(cls, folder: Path) -> "Clients":
        """Make the file."""
        file = folder / "clients.json"
        made = ClientChanges(file, AuditTrail()).add(
            "bench", scopes={"score"}, rate_per_second=float(_NO_LIMIT), burst=_NO_LIMIT
        )
        if made is None:
            raise SystemExit("the client has no key")
        return cls(file, made.text)

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of a request."""
        return {"authorization": f"Bearer {self.key}", "content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class MeasuredServer:
    """A server that is ready.

    Attributes:
        name: One of the names above.
        child: Its process.
        rest: URL of inference by REST.
        grpc: Host and port of gRPC; empty without it.
    """

    name: str
    child: Child
    rest: str
    grpc: str = ""

    def freeze(self) -> None:
        """Suspend it: it does nothing while another one is measured."""
        self.child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        self.child.send(signal.SIGCONT)


class Servers:
    """Starts servers; all of them end with ``close``.

    Args:
        folder: For their logs and files.
        clients: Who may ask ours.
    """

    def __init__(self, folder: Path, clients: Clients) -> None:
        self._folder = folder
        self._clients = clients
        self._stack = ExitStack()

    def close(self) -> None:
        """End all servers."""
        self._stack.close()

    def ours(self, name: str, *command: str, **tables: Mapping[str, Any]) -> MeasuredServer:
        """Start a server of ours, and wait until it is ready.

        Args:
            name: Of the contender.
            command: Of ``bench/harness/contender.py``.
            tables: Further settings by group; ``serving`` is merged with the settings made here.
        """
        port, grpc, probes = free_ports(3)
        serving: dict[str, Any] = {
            "port": port, "grpc_port": grpc, "access": {"clients_file": str(self._clients.file)},
            **tables.pop("serving", {}),
        }  # fmt: skip
        table = {"serving": serving, "http": {"port": probes}, **tables}
        environment = as_environment(table) | {"PYTHONPATH": str(machine.ROOT)}
        entry = Entry(name, command, load_settings(table), environment)
        server, _ = machine.cores()
        with machine.pinned(server):
            child = Contender(entry, self._folder / f"{name}.log")
        self._stack.callback(child.stop)
        child.begin()
        until(child.ready, f"{name} is ready", START_SECONDS, child)
        url = f"http://127.0.0.1:{port}/v2/models/{NAME}/infer"
        return MeasuredServer(name, child, url, f"127.0.0.1:{grpc}")

    def echo(self, *, stall: bool = False) -> MeasuredServer:
        """Start the echo; with ``stall`` it stops for 100 ms each second."""
        options = (echo.STALL,) if stall else ()
        return self.ours(STALLING if stall else ECHO, "module", echo.__name__, *options)

    def scoring(self) -> MeasuredServer:
        """Start ``stream-scorer serve --model``."""
        return self.ours(OURS, "serve", "--model", MODEL)

    def peer(
        self, name: str, command: list[str], port: int, ready: str, rest: str, grpc: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> MeasuredServer:  # fmt: skip
        """Start another server, and wait until it is ready.

        Args:
            name: Of the contender.
            command: Its command.
            port: Of REST.
            ready: Path that is answered with 200 then.
            rest: Path of inference by REST.
            grpc: Host and port of gRPC.
            environment: Further environment variables.
        """
        log = self._folder / f"{name}.log"
        own = {"OMP_NUM_THREADS": "1", **(environment or {})}
        server, _ = machine.cores()
        with machine.pinned(server):
            child = Child(processes.start(command, log, environment=own), log, port)
        self._stack.callback(child.stop, _STOP_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            if not child.alive or time.monotonic() > deadline:
                raise SystemExit(f"{name} is not ready: {child.said[-2000:]}")
            time.sleep(0.1)
        return MeasuredServer(name, child, f"http://127.0.0.1:{port}{rest}", grpc)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310 our own server
            return bool(answer.status == 200)
    except OSError:
        return False


def post(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the answer to one request.

    Raises:
        SystemExit: It is refused.
    """
    request = urllib.request.Request(url, body, dict(headers))  # noqa: S310 our own server
    try:
        with urllib.request.urlopen(request, timeout=30.0) as answer:  # noqa: S310 our own server
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise SystemExit(f"{url}: {error.code} {error.read().decode()}") from None


def read_score(answer: bytes, output: str) -> float:
    """Return the score of the first row of an answer of the protocol.

    Raises:
        SystemExit: It has no such output.
    """
    for each in json.loads(answer)["outputs"]:
        if each["name"] == output:
            return float(each["data"][-1])
    raise SystemExit(f"the answer has no output {output}: {answer.decode()[:500]}")
