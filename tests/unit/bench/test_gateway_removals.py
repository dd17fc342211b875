"""The removal of the API's checks follows its own rules; the bench itself removes them."""

from pathlib import Path

from bench.hostile_cases.gateway import FILES, OTHERS, REMOVALS, gateway_checks
from bench.hostile_cases.mutants import checks
from tests.support.hostile.registry import REQUESTS

PACKAGE = Path(__file__).parents[3] / "stream_scorer"


def test_single_checks_that_are_not_drawn_are_there() -> None:
    found = checks(PACKAGE, tuple(FILES))
    assert OTHERS.keys() <= {each.name for each in found}
    # No other check has the condition of one of them.
    assert len(gateway_checks(PACKAGE)) == len(found) - len(OTHERS)


def test_each_file_has_checks_and_requests() -> None:
    found = gateway_checks(PACKAGE)
    assert len(found) >= 3 * REMOVALS
    assert {each.file for each in found} == FILES.keys()
    kinds = {each.kind for each in REQUESTS}
    assert {kind for named in FILES.values() for kind in named.split(",")} <= kinds
