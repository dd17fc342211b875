"""The simulation of thresholds, and the table that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.drift_thresholds import tabulate
from bench.drift_thresholds.simulation import Tail, calibrate, tail_of
from stream_scorer.drift.detection.shifts.thresholds import BLOCK, look_up


def test_a_tail_gives_back_the_share_it_was_made_from() -> None:
    generator = np.random.default_rng(1)
    tail = tail_of(5 + 2 * generator.exponential(size=100_000))
    # Of exponential values with scale 2 above 5, a share of exp(-(b - 5) / 2) passes b.
    run_length = 1e5
    share = -np.expm1(-BLOCK / run_length)
    assert tail.threshold(run_length) == pytest.approx(5 - 2 * np.log(share), abs=0.3)


def test_a_calibration_without_the_table_agrees_with_it() -> None:
    phi, length = np.array([0.5, 0.5]), np.array([600.0, 600.0])
    run_length = np.array([1e5, 1e6])
    made = calibrate(phi, length, run_length)
    assert made == pytest.approx(look_up(phi, length, run_length), abs=0.8)
    assert made[1] > made[0] + 1.5


def test_a_table_is_written_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabulate, "cell", lambda phi, length: Tail(phi, 0.01, 1 + 1 / length))
    monkeypatch.setattr(tabulate, "excess", lambda phi, weeks: phi / weeks)
    path = tmp_path / "table.json"
    tabulate.write(path, [0.5], [200, 300, 600, 1_000])
    tabulate.write(path, [0.0, 0.5], [200, 300, 600, 1_000])
    document = json.loads(path.read_text())
    assert document["phi"] == [0.0, 0.5]
    assert document["tails"][1][0] == pytest.approx([0.5, 0.01, 1.005], abs=1e-4)
    assert document["weeks"] == list(tabulate.WEEKS)
    assert document["excess"][1] == [round(0.5 / weeks, 4) for weeks in tabulate.WEEKS]
