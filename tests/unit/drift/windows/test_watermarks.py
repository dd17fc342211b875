"""Windows close as if each summary looked at every partition and window, at a small cost."""

import random
import time
from typing import Any

from stream_scorer.drift.windows.watermarks import IDLE_MS, PARTITIONS_MOST, Watermarks
from stream_scorer.drift.windows.windows import OPEN_MOST, Windows

HOUR = 3_600_000


class PlainWatermarks:
    """Each partition's watermark and the time at which it moved; all are looked at each time."""

    def __init__(self, partitions: range) -> None:
        self._unheard = partitions
        self._known: dict[int, tuple[int, int]] = {}

    def begin(self, now: int) -> None:
        self._known.update((number, (0, now)) for number in self._unheard)
        self._unheard = range(0)

    def move(self, number: int, watermark: int, now: int) -> None:
        known = self._known.setdefault(number, (0, now))
        if watermark > known[0]:
            self._known[number] = (watermark, now)

    def least(self, now: int) -> int | None:
        active = [known for known, moved in self._known.values() if now - moved < IDLE_MS]
        return min(active, default=0) or None


def test_the_least_watermark_is_that_of_all_active_partitions() -> None:
    found = set()
    for seed in range(100):
        chance = random.Random(seed)  # noqa: S311 not for secrets
        watermarks, plain = Watermarks(range(3)), PlainWatermarks(range(3))
        now = watermark = 1
        for _ in range(200):
            now += chance.choice((0, 0, 10, 5_000, IDLE_MS - 1))
            watermark += chance.randrange(-50, 100)
            number = chance.randrange(6)
            for each in (watermarks, plain):
                each.begin(now)
                each.move(number, watermark, now)
            if chance.random() < 0.2:
                watermarks = watermarks.copy()
            least = plain.least(now)
            assert watermarks.least(now) == least
            found.add(least is None)
    assert found == {True, False}


def test_a_copy_does_not_change_its_original() -> None:
    watermarks = Watermarks(range(1))
    watermarks.begin(0)
    watermarks.move(0, 5, 0)
    made = watermarks.copy()
    made.move(0, 9, 1)
    made.move(1, 2, 1)
    assert (watermarks.least(1), made.least(1)) == (5, 2)
    assert (len(watermarks), len(made)) == (1, 2)


def test_one_partition_too_many_takes_the_place_of_an_idle_one() -> None:
    watermarks = Watermarks(range(2))
    watermarks.begin(0)
    for number in range(2, 2 * PARTITIONS_MOST):
        watermarks.move(number, 100, 0)
    assert len(watermarks) == PARTITIONS_MOST
    # All are active, so the last ones are not known.
    watermarks.move(3 * PARTITIONS_MOST, 1, 0)
    watermarks.move(0, 50, 0)
    watermarks.move(1, 60, 0)
    assert watermarks.least(0) == 50
    watermarks.move(3 * PARTITIONS_MOST, 7, IDLE_MS)
    assert watermarks.least(IDLE_MS) == 7
    assert len(watermarks) == PARTITIONS_MOST


def test_a_slow_partition_does_not_let_the_heap_grow() -> None:
    watermarks = Watermarks(range(2))
    watermarks.begin(0)
    watermarks.move(0, 1, 0)
    for watermark in range(2, 10_000):
        watermarks.move(1, watermark, 0)
    assert watermarks.least(0) == 1
    assert len(watermarks._heap) < 100


def _summary(watermark: int, starts: range, partitions: range) -> dict[str, Any]:
    counts = {"partition": 0, "width_ms": HOUR, "count": 1}
    return {
        "model": "m", "model_version": "1",
        "sources": [{"partition": number, "watermark": watermark} for number in partitions],
        "windows": [{"start": start * HOUR, **counts} for start in starts],
    }  # fmt: skip


def _seconds(windows: Windows) -> float:
    begun = time.thread_time()
    for turn in range(300):
        windows.update(_summary(HOUR + turn, range(turn, turn + 1), range(1)), 0)
    return time.thread_time() - begun


def test_forged_windows_do_not_slow_the_next_summaries() -> None:
    windows = Windows(range(1), HOUR)
    alone = min(_seconds(Windows(range(1), HOUR)) for _ in range(3))
    far = range(10**12, 10**12 + OPEN_MOST)
    windows.update(_summary(2 * HOUR, far, range(1, PARTITIONS_MOST)), 0)
    # Each of these summaries opens one window, and so drops one.
    assert min(_seconds(windows.copy()) for _ in range(3)) < 10 * alone


def test_a_partition_that_moved_before_time_went_back_is_idle() -> None:
    watermarks = Watermarks(range(2))
    late = 10 * IDLE_MS
    watermarks.begin(late)
    watermarks.move(0, 5, late)
    watermarks.move(1, 9, 0)
    assert watermarks.least(0) == 9
