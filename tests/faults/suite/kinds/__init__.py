"""Every kind of fault; importing this package registers them."""

from tests.faults.suite.kinds import (
    broker,
    computation,
    data,
    gateways,
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
    "broker", "computation", "data", "gateways", "group", "kills", "membership", "modes", "network",
    "planned", "process", "upstream",
]  # fmt: skip
