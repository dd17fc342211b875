"""The clusters that faults are done to: one node behind a proxy, and three nodes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stream_scorer.devkafka import DevKafka
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.scoring import compile_kernels
from tests.support.faults.proxy import Proxy

Cluster = Literal["one", "three", "forgetful"]

_CONFIG = {
    # The sweep that aborts transactions past their limit; 10 s by default, which is only waiting.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
}
_FORGETFUL = {
    # The broker forgets a transactional id that is idle for so long; 7 days by default.
    "transactional.id.expiration.ms": 3_000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 500,
    "producer.id.expiration.ms": 3_000,
    "producer.id.expiration.check.interval.ms": 500,
}


@dataclass(frozen=True, slots=True)
class Ground:
    """A cluster.

    Attributes:
        kafka: The brokers.
        proxy: In front of the only broker; None in front of three.
    """

    kafka: DevKafka
    proxy: Proxy | None

    @property
    def replicas(self) -> list[Path]:
        """Where each broker keeps its logs."""
        return [self.kafka.directory / f"node-{b.node}" / "data" for b in self.kafka.brokers]

    def broker_said(self, text: str) -> int:
        """Return in how many lines of the brokers' logs a text stands."""
        return sum(
            text in line
            for broker in self.kafka.brokers
            for line in broker.log.read_text(errors="replace").splitlines()
        )

    def repair(self) -> None:
        """Undo what a kind left behind that failed half-way: the next one needs a whole cluster."""
        if self.proxy is not None:
            self.proxy.calm()
        for broker in self.kafka.brokers:
            if broker.alive:
                broker.resume()
            else:
                broker.start()
        for broker in self.kafka.brokers:
            broker.wait_ready(len(self.kafka.brokers))


def compile_first() -> None:
    """Compile what scorers run, in a process of its own: the first scorer must not wait for it."""
    subprocess.run([sys.executable, "-m", compile_kernels.__name__], check=True)  # noqa: S603 our own program


@contextmanager
def opened(cluster: Cluster) -> Iterator[Ground]:
    """Start a cluster for as long as the context."""
    if cluster == "forgetful":
        with DevKafka(config=_CONFIG | _FORGETFUL) as kafka:
            yield Ground(kafka, None)
        return
    if cluster == "three":
        with DevKafka(3, config=_CONFIG) as kafka:
            yield Ground(kafka, None)
        return
    (port,) = free_ports(1)
    with Proxy(port) as proxy, DevKafka(config=_CONFIG, advertised={0: proxy.address}) as kafka:
        proxy.upstream = kafka.brokers[0].address
        yield Ground(kafka, proxy)
