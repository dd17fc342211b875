"""One broker of a devkafka: its files, its process, and the signals that fault tests send it."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_scorer.devkafka import processes
from stream_scorer.devkafka.node import HOST, Ports
from stream_scorer.errors import UnavailableError

_STOP_SECONDS = 15.0
_START_SECONDS = 90.0


class AddressInUseError(Exception):
    """Another process took one of the ports between their choice and the broker's start."""


class Broker:
    """A broker that runs, or has run.

    Args:
        node: Node id, also its index in ``DevKafka.brokers``.
        ports: Its ports.
        command: Its start command.
        log: File of its log.
        detached: Whether it outlives this process.
    """

    def __init__(
        self,
        node: int,
        ports: Ports,
        command: Sequence[str],
        log: Path,
        *,
        detached: bool,
    ) -> None:
        self.node = node
        self.ports = ports
        self.address = f"{HOST}:{ports.client}"
        self.internal_address = f"{HOST}:{ports.internal}"
        self.log = log
        self._command = command
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of its process; of the last one if it does not run."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether its process exists, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; :meth:`wait_ready` waits until it answers."""
        self._process = processes.start(
            self._command, self.log.with_suffix(".out"), detached=self._detached
        )

    def wait_ready(self, nodes: int = 1, seconds: float = _START_SECONDS) -> None:
        """Return once every listener answers and it knows at least ``nodes`` brokers.

        Raises:
            AddressInUseError: One of its ports was taken.
            UnavailableError: It ended, or does not answer in time.
        """
        deadline = time.monotonic() + seconds
        # Its listeners open one after the other; if a port is taken, it ends in between.
        waiting = [self.internal_address, self.address]
        while time.monotonic() < deadline:
            if not self.alive:
                raise self._ended()
            known = _brokers(waiting[0])
            if len(known) >= nodes and self.node in known:
                waiting.pop(0)
                if not waiting:
                    return
            else:
                time.sleep(0.05)
        raise UnavailableError(
            f"Kafka broker {self.node} does not answer after {seconds:.0f} s", f"see {self.log}"
        )

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused broker (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        process = self._running()
        process.kill()
        process.wait()

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """End it gracefully (SIGTERM), or kill it after ``seconds``."""
        self.terminate()
        try:
            self._running().wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def terminate(self) -> None:
        """Ask it to end and return immediately; a paused one is resumed so that it can."""
        self._running().terminate()
        self.resume()

    def restart(self) -> None:
        """Stop it gracefully if it runs, start it on the same ports, wait until it answers.

        After a crash, Kafka accepts it again only after its previous session has expired
        (``broker.session.timeout.ms``, 9 s).
        """
        if self.alive:
            self.stop()
        self.start()
        self.wait_ready()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise UnavailableError(f"Kafka broker {self.node} was not started", "start it first")
        return self._process

    def _ended(self) -> Exception:
        """Return why the process ended, from its log."""
        said = "".join(
            path.read_text(errors="replace")[-20_000:]
            for path in (self.log, self.log.with_suffix(".out"))
            if path.exists()
        )
        if "Address already in use" in said:
            return AddressInUseError()
        errors = [line for line in said.splitlines() if "ERROR" in line or "FATAL" in line]
        reason = (errors or said.splitlines() or ["no output"])[-1]
        return UnavailableError(
            f"Kafka broker {self.node} ended: {reason[:300]}", f"see {self.log}"
        )


def _brokers(address: str) -> set[int]:
    """Return the node ids that the broker at an address knows; none when it does not answer.

    Each call uses a new client: one that knows the cluster may query another broker.
    """
    client = AdminClient(
        {
            "bootstrap.servers": address,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,
            # Refused connections are expected while waiting.
            "error_cb": lambda _: None,
        }
    )
    try:
        return set(client.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return set()
