"""Copies of a watch are independent, and forged versions do not make it grow."""

from typing import Any

from stream_scorer.drift.detectors import SIGNALS
from stream_scorer.drift.watch import VERSIONS_MOST, DriftWatch
from tests.support.drift.simulated import (
    HOUR_MS,
    NOW_MS,
    PARTITIONS,
    changed,
    summaries,
    transactions,
)


def watch(partitions: int = PARTITIONS) -> DriftWatch:
    return DriftWatch(SIGNALS, 0.0005, range(partitions), HOUR_MS)


def of_version(version: str, hour: int) -> dict[str, Any]:
    return {
        "model": "m", "model_version": version,
        "sources": [{"partition": 0, "watermark": (hour + 2) * HOUR_MS}],
        "windows": [
            {
                "partition": 0, "start": hour * HOUR_MS, "width_ms": HOUR_MS, "count": 1,
                "review": 0, "block": 0, "score_sum": 0.5, "amount_minor_sum": 1,
            }
        ],
    }  # fmt: skip


def test_a_copy_continues_as_its_original_does() -> None:
    made = list(summaries(changed(transactions(16), 8, 2.0, 4), batch=2_500))
    half = len(made) // 2
    one = watch()
    for summary in made[:half]:
        one.update(summary, NOW_MS)
    two = one.copy()
    first = [one.update(summary, NOW_MS) for summary in made[half:]]
    assert [two.update(summary, NOW_MS) for summary in made[half:]] == first
    assert any(first)


def test_versions_that_are_not_updated_lose_their_detectors() -> None:
    one = watch(1)
    for number in range(VERSIONS_MOST + 5):
        one.update(of_version(f"forged {number}", 2 * number), NOW_MS)
        one.update(of_version("real", 2 * number + 1), NOW_MS)
    assert len(one._detectors) == VERSIONS_MOST
    assert [version for _, version in one._detectors][-2:] == [
        f"forged {VERSIONS_MOST + 4}",
        "real",
    ]
    assert ("m", "forged 5") not in one._detectors
    assert one._own <= one._detectors.keys()
