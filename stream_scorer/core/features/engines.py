"""Engines: what the numbers of a model version mean, from its features to its probability.

Each bundle has one engine, and each decision names the engine of its bundle. So a new engine
changes no old decision, and versions of several engines score in one process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from stream_scorer.core.events.plan import Plan


@dataclass(frozen=True, slots=True)
class EngineMeaning:
    """The meanings that an engine fixes.

    Attributes:
        features: Version of the meaning of features. 1: the risk of a terminal is its share of
            frauds in all transactions. 2: its share of frauds in the transactions that are known to
            be a fraud or genuine. No other feature differs.
        own_exponential: Whether probabilities are computed by ``core.arithmetic``, with the same
            bits on every machine; otherwise by the C library's ``exp``.
    """

    features: int
    own_exponential: bool


ENGINES: Final[Mapping[int, EngineMeaning]] = MappingProxyType(
    {
        1: EngineMeaning(features=1, own_exponential=False),
        2: EngineMeaning(features=2, own_exponential=False),
        3: EngineMeaning(features=2, own_exponential=True),
    }
)
"""Engines by their numbers, ascending."""
FIRST_ENGINE: Final = 1
"""That of features without a label policy, and of every bundle that was made before there were any.
"""
RINGS_ENGINE: Final = 1
"""Version of what the customers' rings contain, which checkpoints have: no feature of a terminal
and no probability changes it.
"""


def engine_of(plan: Plan) -> int:
    """Return the engine of a model that is trained under a plan, if no other is chosen."""
    return 2 if plan.label_policy else FIRST_ENGINE
