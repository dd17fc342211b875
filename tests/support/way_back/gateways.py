"""Gateways that publish devices' rows, and are killed at their steps."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, producer_maker
from stream_scorer.errors import UnavailableError
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings

FILES = FileRegistry(SCHEMAS_DIRECTORY)
_KILLS_MOST = 8
_EACH = 3
"""A gateway is killed whenever a step is over for so many more times."""


class Killed(BaseException):
    """The gateway's process ended here: nothing of it is closed in order."""


class EdgeGateway:
    """A publisher with its connections, as a gateway has them."""

    def __init__(
        self, kafka: Kafka, hook: Callable[[str], None] = lambda _: None, *, checked: bool = True
    ) -> None:
        self.progress = ProgressTopic(Settings(kafka=kafka), FILES)
        self.publisher = EdgePublisher(
            kafka.topics.transactions, self.progress, producer_maker(kafka, lambda _: None),
            hook=hook, checked=checked,
        )  # fmt: skip

    def close(self) -> None:
        """Close all connections."""
        self.publisher.close()
        self.progress.close()


Gateways = Callable[..., EdgeGateway]
"""Opens a gateway: (kafka, hook, checked=…)."""


def upload_with_kills(
    kafka: Kafka, gateways: Gateways, device: str, rows: Sequence[EdgeRow], at_once: int,
    seed: int, *, checked: bool,
) -> list[str]:  # fmt: skip
    """Upload all rows through two gateways that are killed up to 8 times; the device repeats.

    A gateway is killed before the commit, or between it and its answer: then the device has not
    deleted the rows, and sends them again.

    Args:
        kafka: The cluster.
        gateways: Opens a gateway; whoever calls closes it.
        device: The device.
        rows: Its rows, from the first one on.
        at_once: Maximum rows of an upload.
        seed: Of the uploads' sizes, and of the gateways that they go to.
        checked: Whether gateways skip what is published.

    Returns:
        The steps at which gateways were killed.
    """
    chance = random.Random(seed)  # noqa: S311 a test's choice, not a secret
    kills: list[str] = []
    passed: Counter[str] = Counter()

    def fails(step: str) -> None:
        passed[step] += 1
        if len(kills) < _KILLS_MOST and passed[step] % _EACH == 0:
            kills.append(step)
            raise Killed(step)

    both = [gateways(kafka, fails, checked=checked) for _ in range(2)]
    reached = 0
    while reached < len(rows):
        at = chance.randrange(2)
        sent = rows[reached : reached + chance.randint(1, at_once)]
        try:
            # A gateway that the other one has fenced answers 503, and the device repeats.
            with suppress(UnavailableError):
                reached = max(reached, both[at].publisher.publish(device, sent).progress.sequence)
        except Killed:
            both[at] = gateways(kafka, fails, checked=checked)
    return kills
