"""The decisions that came with rows, as decisions of the batch."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from stream_scorer.core.decision.decide import Int64, ObservedRows
from stream_scorer.core.events.batch import DecisionBatch, Flag
from stream_scorer.core.events.given import GivenDecisions

EDGE_ARM: Final = "edge"
"""Arm of decisions that came with their transactions."""


def given_decisions(
    given: GivenDecisions, rows: ObservedRows, revision: int
) -> Iterator[tuple[DecisionBatch, Int64]]:
    """Yield the decisions of each version that made some, with their row numbers.

    Everything that was decided is as it came. The flag ``late`` is that of the rings here, because
    it says whether the transaction was added to them.

    Args:
        given: Their rows are numbered as those of ``rows``.
        rows: The accepted rows of a batch.
        revision: Of the plan that is active here. A claimed one could be any number.
    """
    for index, maker in enumerate(given.makers):
        mine = np.flatnonzero(given.maker == index)
        if not len(mine):
            continue
        place = given.row[mine]
        late = rows.flags[place] & np.uint8(Flag.LATE)
        decisions = DecisionBatch(
            events=rows.events.take(place), score=given.score[mine], outcome=given.outcome[mine],
            flags=late | given.flags[mine] | np.uint8(Flag.EDGE), features=given.features[index],
            reasons={
                at: given.reasons[row]
                for at, row in enumerate(place.tolist()) if row in given.reasons
            },
            model=maker.model, version=maker.version, arm=EDGE_ARM, plan_revision=revision,
            terminal_watermark=given.watermark[mine], model_outcome=given.model_outcome[mine],
            engine=maker.engine,
        )  # fmt: skip
        yield decisions, place
