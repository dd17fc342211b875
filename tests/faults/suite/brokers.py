"""The clusters in which faults happen: one node behind a proxy, and three nodes."""

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
    # Interval of the broker's check for transactions past their limit; the default is 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
}
_FORGETFUL = {
    # The broker forgets a transactional id that is idle for this long; the default is 7 days.
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
        proxy: In front of the only broker; None if there are three brokers.
    """

    kafka: DevKafka
    proxy: Proxy | None

    @property
    def replicas(self) -> list[Path]:
        """The log directory of each broker."""
        return [self.kafka.directory / f"node-{b.node}" / "data" for b in self.kafka.brokers]

    def broker_said(self, text: str) -> int:
        """Return the number of lines in the brokers' logs that contain a text."""
        return sum(
            text in line
            for broker in self.kafka.brokers
            for line in broker.log.read_text(errors="replace").splitlines()
        )

    def repair(self) -> None:
        """Undo what a failed kind left in the cluster; the next kind needs all brokers."""
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
    """Compile the scorers' kernels in a separate process, so that no scorer waits for that."""
    subprocess.run([sys.executable, "-m", compile_kernels.__name__], check=True)  # noqa: S603 our own program


@contextmanager
def opened(cluster: Cluster) -> Iterator[Ground]:
    """Start a cluster; it is stopped at the context's end."""
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
