"""Kafka's own tools, from the jars that the broker of the tests runs."""

import subprocess

from stream_scorer.devkafka.cluster import DevKafka

_OPTIONS = ("-Xmx256m", "-XX:TieredStopAtLevel=1")


def run_tool(
    kafka: DevKafka, main_class: str, *arguments: str, seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end.

    Args:
        kafka: The cluster; gives Java, the jars and the tools' logging.
        main_class: For example ``org.apache.kafka.tools.consumer.ConsoleConsumer``.
        arguments: Its arguments; ``{bootstrap}`` stands for the cluster's internal address.
        seconds: Time limit.

    Raises:
        subprocess.TimeoutExpired: It took longer.
    """
    tool = [each.replace("{bootstrap}", kafka.internal_bootstrap) for each in arguments]
    command = [*kafka._java(kafka._tools_log, *_OPTIONS), main_class, *tool]
    return subprocess.run(  # noqa: S603 our Java, our jars
        command, capture_output=True, text=True, timeout=seconds, check=False
    )
