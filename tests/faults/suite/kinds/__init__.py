"""Every kind of fault; to import this is to register them."""

from tests.faults.suite.kinds import (
    broker,
    computation,
    data,
    group,
    kills,
    membership,
    modes,
    network,
    planned,
    process,
    upstream,
)

__all__ = [
    "broker", "computation", "data", "group", "kills", "membership", "modes", "network", "planned",
    "process", "upstream",
]  # fmt: skip
