"""Faults of the fault suite page no alert but their primary one and late decisions.

A dozen kinds; ``make test-faults FAULTS_ARGS=--alerts`` judges all of them in the same way.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.suite import kinds
from tests.faults.suite.alerts import LATE
from tests.faults.suite.brokers import Cluster, Ground, compile_first, opened
from tests.faults.suite.registry import KINDS, Kind
from tests.faults.suite.running import run_kind

pytestmark = [pytest.mark.prometheus, pytest.mark.kafka, pytest.mark.timeout(600)]
assert kinds.__all__  # importing it registers them
SEED = 1
CHOSEN = (
    "kills_at_random_moments", "model_slower_than_the_poll_interval", "member_killed",
    "black_hole", "hanging_upstream_transaction", "partitions_added", "output_topic_deleted",
    "malformed", "quarantined_record", "tampered_model", "another_partitioner",
    "aborted_upstream_transaction", "offset_out_of_range", "leader_killed", "all_brokers_down",
)  # fmt: skip


def judged(kind: Kind, ground: Ground, folder: Path) -> None:
    result = run_kind(kind, ground, SEED, folder, alerts=True)
    assert result.error == ""
    assert set(result.alerts["pages"]) <= {result.alerts["primary"], LATE}


def of(cluster: Cluster) -> pytest.MarkDecorator:
    chosen = [KINDS[name] for name in CHOSEN if KINDS[name].cluster == cluster]
    return pytest.mark.parametrize("kind", chosen, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def one() -> Iterator[Ground]:
    compile_first()
    with opened("one") as found:
        yield found


@pytest.fixture(scope="module")
def three() -> Iterator[Ground]:
    compile_first()
    with opened("three") as found:
        yield found


@of("one")
def test_only_a_primary_alert_or_late_decisions_page(
    kind: Kind, one: Ground, tmp_path: Path
) -> None:
    judged(kind, one, tmp_path)


@of("three")
def test_in_a_broker_s_fault_only_late_decisions_page(
    kind: Kind, three: Ground, tmp_path: Path
) -> None:
    judged(kind, three, tmp_path)
