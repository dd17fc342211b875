"""The bench of a device's state: each promise that is missed has its line."""

from typing import Any

import pytest

from bench.edge_steps.device import device_failures

GOOD: dict[str, Any] = {
    "events": 640, "cuts": 256, "killed": 5, "disk_full": True, "finished": True,
    "features_equal": 640, "cuts_repaired": 256, "cuts_prefixes": 256, "cuts_continued": 2,
    "cuts_rows": 2,
    "sizes": [{"events": 60, "log_bytes": 20_000_000, "memory_bytes": 20_000_000}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, None),
        ({"killed": 4}, "4 kills"),
        ({"disk_full": False}, "disk_full: did not happen"),
        ({"finished": False}, "finished: did not happen"),
        ({"features_equal": 639}, "639 events have the core's features"),
        ({"cuts_repaired": 255}, "255 cuts are repaired"),
        ({"cuts_prefixes": 255}, "255 cuts leave an earlier state"),
        ({"cuts_continued": 1}, "1 earlier states continue alike"),
        (
            {"sizes": [{"events": 60, "log_bytes": 20_000_001, "memory_bytes": 1}]},
            "20000001 bytes of log",
        ),
        (
            {"sizes": [{"events": 60, "log_bytes": 1, "memory_bytes": 20_000_001}]},
            "20000001 bytes of memory",
        ),
    ],
)
def test_each_gate_of_a_device_fails_just_past_it(change: dict[str, Any], line: str | None) -> None:
    found = device_failures(GOOD | change)
    assert [each[: len(line or "")] for each in found] == ([] if line is None else [line])
