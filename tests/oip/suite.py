"""All cases, and a target's failures."""

from collections.abc import Iterable

import grpc

# Importing a module of cases registers them.
from tests.oip.cases import (  # noqa: F401 imported for their cases
    grpc_inference,
    grpc_metadata,
    grpc_refusals,
    rest_binary,
    rest_binary_refusals,
    rest_health,
    rest_inference,
    rest_metadata,
    rest_refusals,
)  # fmt: skip
from tests.oip.registry import CASES, NotApplicableError, NotConformingError, OipCase, OipFailure
from tests.oip.target import OipTarget


def all_cases() -> tuple[OipCase, ...]:
    """Return every case: the core over REST, its binary extension, then gRPC."""
    order = [("rest", "core"), ("rest", "binary"), ("grpc", "core")]
    return tuple(sorted(CASES.values(), key=lambda case: order.index((case.binding, case.part))))


def failure(case: OipCase, target: OipTarget) -> OipFailure | None:
    """Return why a target fails a case; None if it passes.

    Raises:
        NotApplicableError: The target does not have the optional part that the case asks for.
    """
    try:
        case.check(target)
    except NotApplicableError:
        raise
    except NotConformingError as error:
        return OipFailure(case, " ".join(str(error).split()))
    except grpc.RpcError as error:
        return OipFailure(case, f"{error.code().name}: {error.details()}")
    except Exception as error:  # noqa: BLE001 whatever an answer makes fail is the answer's fault
        return OipFailure(case, " ".join(f"{type(error).__name__}: {error}".split()))
    return None


def failures(target: OipTarget, cases: Iterable[OipCase] | None = None) -> list[OipFailure]:
    """Return the cases that a target fails; those that do not apply are left out.

    Args:
        target: The server.
        cases: All of them if None.
    """
    found = []
    for case in all_cases() if cases is None else cases:
        try:
            failed = failure(case, target)
        except NotApplicableError:
            continue
        if failed is not None:
            found.append(failed)
    return found
