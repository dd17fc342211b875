"""Queries a broker for a group, its lag and topics, repeatedly; run by test_questions.

``BOOTSTRAP TOPIC``: writes a line ``answered`` or ``refused`` for each round of queries.
"""

import sys
import threading

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.kafka.topics.lag import LagReader
from stream_scorer.kafka.topics.offsets import partitions
from stream_scorer.settings import Kafka

_ASKERS = 8
_PAUSE_SECONDS = 0.2


def ask(kafka: Kafka, topic: str) -> None:
    groups, lag = Groups(kafka), LagReader(kafka, kafka.group, topic)
    pause = threading.Event()
    while True:
        try:
            partitions(groups.client, kafka, None)
            groups.described(kafka.group, 0.0)
            lag.read()
        except (UnavailableError, SettingsError):
            told = "refused"
        else:
            told = "answered"
        sys.stdout.write(told + "\n")
        sys.stdout.flush()
        pause.wait(_PAUSE_SECONDS)


def main() -> None:
    bootstrap, topic = sys.argv[1:]
    kafka = Kafka(bootstrap=bootstrap, group="asked", socket_timeout_ms=3_000)
    for _ in range(_ASKERS):
        threading.Thread(target=ask, args=(kafka, topic), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
