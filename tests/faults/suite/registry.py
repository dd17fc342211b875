"""The kinds of fault: each is a function that acts on a stage, and a line that registers it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.faults.suite.brokers import Cluster
from tests.faults.suite.stage import Stage

Family = Literal["process", "group", "broker", "network", "data", "gateway"]
Act = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: Its name in reports and after ``--only``.
        family: The component that fails.
        cluster: One node behind a proxy, three nodes with replication 3 and min ISR 2, or one that
            forgets a transactional id after three idle seconds.
        act: Makes the fault happen, proves it, and waits until the scorer has recovered.
        quick: Whether it belongs to the subset of ``make test``.
        tells: What happens, in one sentence.
    """

    name: str
    family: Family
    cluster: Cluster
    act: Act
    quick: bool
    tells: str


KINDS: dict[str, Kind] = {}


def kind(family: Family, *, cluster: Cluster = "one", quick: bool = False) -> Callable[[Act], Act]:
    """Register a kind under its function's name; the docstring's first sentence describes it."""

    def register(act: Act) -> Act:
        tells = " ".join((act.__doc__ or "").split()).partition(". ")[0].rstrip(".")
        KINDS[act.__name__] = Kind(act.__name__, family, cluster, act, quick, tells)
        return act

    return register
