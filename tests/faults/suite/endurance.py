"""Kinds of fault, one after another, on one stage: one topic, one group, one load, one verdict.

Each kind uses an :class:`Endurance` like its own stage, but continues from where the previous
kind ended. The load never stops. A *bystander*, a scorer that no kind starts or ends, is in the
group from the beginning to the end. Its memory, descriptors and threads are watched.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.suite.brokers import Ground
from tests.faults.suite.stage import Stage
from tests.faults.suite.traffic import PER_SECOND
from tests.faults.verifier.judge import Verdict
from tests.support.faults.process import ScorerProcess
from tests.support.faults.reference_run import Record, transactions_of

KINDS = (
    "latency", "narrow_bandwidth", "black_hole", "producer_path_cut", "connections_reset",
    "half_open", "end_txn_answer_lost", "end_txn_request_lost", "offset_commit_answer_lost",
    "produce_answer_lost", "add_partitions_answer_lost", "add_offsets_request_lost",
    "init_producer_id_answer_lost", "kill_during_commit", "kills_at_random_moments", "sigterm",
    "bounce_storm", "rolling_restart_of_three",
)  # fmt: skip
"""Kinds that need no special settings, outputs or group."""

_BYSTANDER = "bystander"
_VICTIM = "0"
_SETTLED = 50
_CUSTOMERS = 150
_A_DAY = 0.7
"""Minimum of records per customer and day: some customers have no terminal near them."""
_MOST_DAYS = 2_500
"""The simulation begins in 2018, and an event time in the future would be rejected."""
_REMEMBERS_MS = 30 * 86_400_000


def load_of(seconds: float) -> Iterator[Record]:
    """Return simulated transactions of so few customers that their events are soon evicted.

    Args:
        seconds: How long the transactions last at the load's pace.
    """
    records = seconds * PER_SECOND
    customers = max(_CUSTOMERS, math.ceil(records / _A_DAY / _MOST_DAYS))
    return transactions_of(math.ceil(records / _A_DAY / customers) + 1, customers)


class Endurance(Stage):
    """A stage for many kinds of fault.

    Args:
        ground: The cluster.
        seed: Seed of the random numbers.
        folder: Folder of the logs.
        seconds: How long the load has to last.

    Attributes:
        resumed: For each kind in order, seconds from the fault's end to the first commit of the
            slowest partition.
    """

    # The load spans years, so that events are evicted and constant memory can be shown.
    remembers_ms = _REMEMBERS_MS

    def __init__(self, ground: Ground, seed: int, folder: Path, seconds: float) -> None:
        super().__init__(ground, seed, folder)
        self.resumed: list[float] = []
        self._seconds = seconds

    def load(self) -> Iterator[Record]:
        """Return the load, which has to last for ``seconds``."""
        return load_of(self._seconds)

    def begin(self) -> None:
        """Start the bystander and the load."""
        self.scorer(instance=_BYSTANDER)
        self.feed.start()
        self.wait_decided(_SETTLED)
        self.start()

    def start(self, *hooks: str, **options: Any) -> ScorerProcess:
        """Return the scorer that faults happen to; start it if it is not running."""
        running = self.scorers.running(_VICTIM)
        scorer = running or self.scorer(*hooks, **options)
        self.wait_decided(_SETTLED)
        return scorer

    def wait_resumed(self) -> None:
        """Wait as any stage does; the load must not have ended."""
        assert self.feed.is_alive(), "the load ended before the faults"
        super().wait_resumed()

    def finish(self, **_: Any) -> Verdict:
        """Wait until commits resume, and leave the stage to the next kind; ``end`` judges."""
        self.wait_resumed()
        self.resumed.append(self.resume_seconds)
        self.scorers.stop_others({_BYSTANDER, _VICTIM})
        return Verdict()

    @property
    def bystander(self) -> ScorerProcess | None:
        """The scorer that no kind starts or ends; None while its supervisor restarts it."""
        return self.scorers.running(_BYSTANDER)

    def end(self) -> Verdict:
        """Wait until all is decided, end the scorers, and judge the outputs of all kinds."""
        return super().finish()
