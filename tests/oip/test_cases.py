"""Each case passes on the correct reference server, and fails on the variant that it names."""

from collections.abc import Iterator

import pytest

from tests.oip.reference.server import ReferenceServer
from tests.oip.registry import NotConformingError, OipCase
from tests.oip.suite import all_cases, failures


@pytest.fixture(scope="module")
def reference() -> Iterator[ReferenceServer]:
    server = ReferenceServer()
    server.start()
    yield server
    server.stop()


def test_the_reference_conforms(reference: ReferenceServer) -> None:
    assert failures(reference.target) == []


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_each_case_catches_its_broken_server(reference: ReferenceServer, case: OipCase) -> None:
    case.check(reference.target)
    with reference.as_variant(case.broken) as broken, pytest.raises(NotConformingError):
        case.check(broken)
