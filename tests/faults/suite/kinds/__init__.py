"""Every kind of fault; to import this is to register them."""

from tests.faults.suite.kinds import process

__all__ = ["process"]
