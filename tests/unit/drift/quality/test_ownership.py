"""A fault owns the streams that derive from its field; all others stay live."""

import pytest

from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.ownership import owned
from stream_scorer.models.reference.contract import DriftReference
from tests.support.drift.watched_stream import WatchedStream


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    return WatchedStream(1).reference(days=1)


def _owned(reference: DriftReference, name: str, field: str, segment: str = "all") -> set[str]:
    fault = QualityFault(name, field, segment, 0, 1, 1.0, 0.0, 1.0, open=True)
    return {key.text for key in owned(fault, reference)}


def test_a_field_owns_what_derives_from_it(reference: DriftReference) -> None:
    found = _owned(reference, "unit_change", "amount")
    assert {"amount/level@all", "amount_to_mean/level@channel=web", "score/level@all"} <= found
    assert "segment/share@amount<20" in found
    assert "device_risk/level@amount<20" in found, "the members of the band change"
    assert not found & {"device_risk/level@all", "hour/level@all", "segment/share@channel=web"}


def test_a_segment_leaves_its_siblings(reference: DriftReference) -> None:
    found = _owned(reference, "unit_change", "amount", "channel=web")
    assert {"amount/level@all", "amount/level@channel=web", "amount/level@country=FR"} <= found
    assert not found & {"amount/level@channel=pos", "score/level@channel=other"}


def test_a_missing_field_owns_its_features(reference: DriftReference) -> None:
    found = _owned(reference, "missing", "device")
    assert {"device_risk/level@all", "score/level@all"} <= found
    assert not {each for each in found if each.startswith(("amount", "hour", "segment"))}


@pytest.mark.parametrize(
    ("name", "field", "segment"),
    [
        ("volume", "", "all"),
        ("schema_change", "", "all"),
        ("rejects", "TIME_AHEAD", "all"),
        ("new_value", "currency", "rejected"),
    ],
)
def test_a_change_of_the_traffic_owns_shares_only(
    reference: DriftReference, name: str, field: str, segment: str
) -> None:
    found = _owned(reference, name, field, segment)
    assert len(found) == len(reference.plan_segments)
    assert all(each.startswith("segment/share@") for each in found)


@pytest.mark.parametrize("name", ["lateness", "duplicates"])
def test_late_and_repeated_records_own_nothing(reference: DriftReference, name: str) -> None:
    assert _owned(reference, name, "") == set()


def test_a_fault_never_starts_a_training() -> None:
    assert QualityFault.retrains is False
