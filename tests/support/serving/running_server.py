"""Runs a server in its own process, and asks it by raw sockets."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stream_scorer.devkafka.cluster import free_ports

ROOT = Path(__file__).parents[3]
SECONDS = 60.0
"""Time limit of a start and of an answer; far above what an idle machine needs."""


@dataclass
class RunningServer:
    """A server's process and its addresses.

    Attributes:
        process: The process.
        lines: What it announced.
        probes: Port of the probes.
        errors: What it writes to standard error.
    """

    process: "subprocess.Popen[str]"
    lines: list[str]
    probes: int
    errors: IO[str]

    @property
    def port(self) -> int:
        return int(re.findall(r"serving at .*:(\d+)$", "\n".join(self.lines), re.MULTILINE)[0])

    @property
    def grpc_port(self) -> int:
        return int(re.findall(r"gRPC at .*:(\d+)$", "\n".join(self.lines), re.MULTILINE)[0])

    def connect(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        opened.settimeout(SECONDS)
        return opened

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes and return all that comes back until the server closes the connection."""
        with self.connect() as opened:
            # The server may answer and close before it has read everything.
            with suppress(ConnectionResetError, BrokenPipeError):
                opened.sendall(sent)
            return until_closed(opened)

    def probe(self, path: str = "/health/ready") -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.probes}{path}"
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def written(self) -> str:
        """Return standard error so far."""
        self.errors.seek(0)
        return self.errors.read()


def until_closed(opened: socket.socket) -> bytes:
    """Return all bytes until the other end closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := opened.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def free_port() -> int:
    """Return a port that is free now, and that the system gives to no connection."""
    return free_ports(1)[0]


@contextmanager
def running_server(
    lines: int = 1, start: float = 0.0, fail: float = 0.0, **serving: Any
) -> Iterator[RunningServer]:
    """Run a server of the example part.

    Args:
        lines: Addresses that it announces.
        start: How long its part takes to start, seconds.
        fail: After how many seconds its part fails; 0: never.
        serving: Settings of the group ``serving``.
    """
    probes = free_port()
    settings: Mapping[str, Any] = {"serving": {"port": 0} | serving, "http": {"port": probes}}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603 our own program
            [
                *(sys.executable, "-m", "tests.support.serving.example_server"),
                *(json.dumps(settings), str(start), str(fail)),
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("STREAM_SCORER_")},
        )
        with process:
            assert process.stdout is not None
            server = RunningServer(process, [], probes, errors)
            try:
                server.lines = [process.stdout.readline().strip() for _ in range(lines)]
                assert all(server.lines), server.written()
                yield server
            finally:
                process.kill()


def wait_until(condition: Any, seconds: float = SECONDS) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition never held"
        time.sleep(0.02)
