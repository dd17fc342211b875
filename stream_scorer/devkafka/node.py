"""The contents of one node's files: server.properties and the logging configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """The three ports of one node.

    Attributes:
        client: For clients; the advertised address, unless another is advertised.
        internal: Between brokers, and for Kafka's own tools; never behind a proxy.
        controller: The quorum's.
    """

    client: int
    internal: int
    controller: int


def properties(
    node: int,
    ports: Sequence[Ports],
    data: Path,
    advertised: str | None,
    overrides: Mapping[str, object],
) -> str:
    """Return the server.properties of a combined broker and controller.

    Defaults that need three nodes are changed to what ``len(ports)`` nodes support. Durability is
    Kafka's own: replication and the page cache, no forced flush.

    Args:
        node: Node id, the index into ``ports``.
        ports: The ports of every node.
        data: Folder of the node's log segments.
        advertised: host:port that is advertised to clients; None is the node's own.
        overrides: Further options, which override.
    """
    nodes, mine = len(ports), ports[node]
    replicas, in_sync = min(3, nodes), min(2, nodes)
    options: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(
            f"{i}@{HOST}:{p.controller}" for i, p in enumerate(ports)
        ),
        "listeners": f"CLIENT://{HOST}:{mine.client},INTERNAL://{HOST}:{mine.internal},"
        f"CONTROLLER://{HOST}:{mine.controller}",
        "advertised.listeners": f"CLIENT://{advertised or f'{HOST}:{mine.client}'},"
        f"INTERNAL://{HOST}:{mine.internal}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,"
        "CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # The default of fifty partitions slows down the first use of a group or transaction.
        "offsets.topic.num.partitions": 10,
        "transaction.state.log.num.partitions": 10,
        "share.coordinator.state.topic.num.partitions": 3,
        "group.initial.rebalance.delay.ms": 0,
    }
    options.update(overrides)
    return "".join(f"{key}={value}\n" for key, value in options.items())


def logging(log: Path) -> str:
    """Return a log4j configuration that writes all logs to one file."""
    return f"""\
status=error
appender.file.type=File
appender.file.name=file
appender.file.fileName={log}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
logger.state.name=state.change.logger
logger.state.level=WARN
logger.values.name=org.apache.kafka.common.config.AbstractConfig
logger.values.level=WARN
logger.cleaner.name=org.apache.kafka.storage.internals.log.LogCleaner
logger.cleaner.level=WARN
"""
