"""Regenerates ``jars.lock``: ``python -m stream_scorer.devkafka.relock > jars.lock``.

Only this module resolves Maven's dependency graph; a start reads the resulting flat list.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from jgo.maven import MavenContext

from stream_scorer.devkafka.jars import KAFKA_VERSION

_ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
)
# Binds slf4j to log4j. Kafka's archive contains it, its Maven artifacts do not. Its dependencies
# are already included; as a root it would change all other versions.
_LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def lock_text() -> str:
    """Resolve the roots and return the lock: a heading, then one ``coordinate sha256`` per line."""
    with tempfile.TemporaryDirectory() as directory:
        context = MavenContext(repo_cache=Path(directory), timeout=60)
        roots = [context.create_dependency(root) for root in _ROOTS]
        inputs, transitive = context.resolver.resolve(roots)
        wanted = inputs + [d for d in transitive if d.scope in {"compile", "runtime"}]
        lines = []
        for dependency in [*wanted, context.create_dependency(_LOG_BINDING)]:
            artifact = dependency.artifact
            digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
            coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            lines.append(f"{coordinate} {digest}")
    heading = (
        f"# Apache Kafka {KAFKA_VERSION}, its tools and what they need: Maven coordinate, sha256.\n"
        "# Made by: python -m stream_scorer.devkafka.relock\n"
    )
    return heading + "\n".join(sorted(set(lines))) + "\n"


if __name__ == "__main__":
    sys.stdout.write(lock_text())
