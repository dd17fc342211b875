"""Every hostile case has the result that docs/SECURITY.md documents."""

import pytest

from bench import hostile
from bench.hostile_cases import all_cases

pytestmark = pytest.mark.kafka


def test_every_hostile_case_is_answered_as_documented() -> None:
    cases = all_cases()
    with hostile.broker(cases):
        outcomes = {each["name"]: each for each in hostile.run_cases(hostile.ROOT)}
    document = hostile.report(cases, outcomes, hostile.recorded()["outcomes"])
    assert hostile.failures(document, cases, outcomes) == []
