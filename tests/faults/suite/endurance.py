"""Kinds of fault, one after another, on one stage: one topic, one group, one load, one verdict.

Kinds act on an :class:`Endurance` as on a stage of their own, but what they start goes on from the
one before: the load never stops, and a *bystander*, a scorer that no kind starts or ends, is in the
group from the beginning to the end. What it needs of memory, descriptors and threads is watched.
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
"""Kinds that need neither settings nor outputs nor a group of their own."""

_BYSTANDER = "bystander"
_VICTIM = "0"
_SETTLED = 50
_CUSTOMERS = 150
_A_DAY = 0.7
"""Records of a customer, at least: some have no terminal near them."""
_MOST_DAYS = 2_500
"""The simulation begins in 2018, and an event time in the future is rejected."""
_REMEMBERS_MS = 30 * 86_400_000


def load_of(seconds: float) -> Iterator[Record]:
    """Return simulated transactions of so few customers that their histories soon end.

    Args:
        seconds: For how long they are enough, at the load's pace.
    """
    records = seconds * PER_SECOND
    customers = max(_CUSTOMERS, math.ceil(records / _A_DAY / _MOST_DAYS))
    return transactions_of(math.ceil(records / _A_DAY / customers) + 1, customers)


class Endurance(Stage):
    """A stage for many kinds of fault.

    Args:
        ground: The cluster.
        seed: Makes what is random.
        folder: Where logs are kept.
        seconds: How long the load has to last.

    Attributes:
        resumed: By kind in their order, seconds from the fault's end to the slowest partition's
            first commit.
    """

    # The load spans years, so that histories come and go and a flat memory can be told.
    remembers_ms = _REMEMBERS_MS

    def __init__(self, ground: Ground, seed: int, folder: Path, seconds: float) -> None:
        super().__init__(ground, seed, folder)
        self.resumed: list[float] = []
        self._seconds = seconds

    def load(self) -> Iterator[Record]:
        """Return what is fed for as long as the load has to last."""
        return load_of(self._seconds)

    def begin(self) -> None:
        """Start the bystander and the load."""
        self.scorer(instance=_BYSTANDER)
        self.feed.start()
        self.wait_decided(_SETTLED)
        self.start()

    def start(self, *hooks: str, **options: Any) -> ScorerProcess:
        """Return the scorer that faults are done to; start it where it does not run."""
        running = self.scorers.running(_VICTIM)
        scorer = running or self.scorer(*hooks, **options)
        self.wait_decided(_SETTLED)
        return scorer

    def wait_resumed(self) -> None:
        """Wait as any stage does, while the load lasts."""
        assert self.feed.is_alive(), "the load ended before the faults"
        super().wait_resumed()

    def finish(self, **_: Any) -> Verdict:
        """See that commits resume, and leave the stage to the next kind; nothing is judged yet."""
        self.wait_resumed()
        self.resumed.append(self.resume_seconds)
        self.scorers.stop_others({_BYSTANDER, _VICTIM})
        return Verdict()

    @property
    def bystander(self) -> ScorerProcess | None:
        """The scorer that no kind starts or ends; None while its supervisor starts it again."""
        return self.scorers.running(_BYSTANDER)

    def end(self) -> Verdict:
        """Let everything be decided, end the scorers, and judge all that was ever decided."""
        return super().finish()
