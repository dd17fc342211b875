"""The bench of exported models: its gates, and rows near everything that may change a result."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import edge
from bench.edge_steps import speed, toolchain
from bench.edge_steps.equality import image
from bench.edge_steps.models import BenchModel, rows_of, save, saved
from stream_scorer.edge.export.golden_rows import cuts_of
from tests.support.edge.edge_models import ensembles


def test_the_summary_has_all_keys_and_adds_what_is_lost() -> None:
    keys = ("ns_per_score", "max_to_median", "code_bytes", "table_bytes", "lost", "duplicates")
    assert edge.summary({}) == dict.fromkeys(keys)
    assert edge.summary({"offline": {"ended_with": 2}}) == dict.fromkeys(keys)
    back = {"lost": 1, "duplicates": 2}
    found = edge.summary({"return_path": back, "offline": back, "toolchain": {"code_bytes": 7}})
    assert (found["lost"], found["duplicates"], found["code_bytes"]) == (2, 4, 7)


@pytest.mark.parametrize(
    ("times", "spread", "line"),
    [
        ({"c": 1.2, "wasm": 3.0}, 3.0, None),
        ({"c": 1.201, "wasm": 3.0}, 3.0, "C takes 1.201"),
        ({"c": 1.2, "wasm": 3.001}, 3.0, "WebAssembly takes 3.001"),
        ({"c": 1.2, "wasm": 3.0}, 3.01, "the slowest row takes 3.01"),
    ],
)
def test_each_gate_of_speed_fails_just_past_it(
    times: dict[str, float], spread: float, line: str | None
) -> None:
    found = speed.failures({"times_ours": times, "max_to_median": spread})
    assert [each[: len(line or "")] for each in found] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, None),
        ({"seconds": {"export": 1.5, "compile": 0.51}}, "export and compile take 2.01 s"),
        ({"code_bytes": 32_769}, "the kernel has 32769 bytes"),
        ({"fused": 1}, "fused operations: 1"),
        ({"clean": {"valgrind": False}}, "clean under valgrind: False"),
        ({"page": {"rows": 999, "equal": 1_000}}, "the page scores 999 rows"),
        ({"page": {"rows": 1_000, "equal": 999}}, "999 rows of the page are equal"),
    ],
)
def test_each_gate_of_the_toolchain_fails_just_past_it(
    change: dict[str, Any], line: str | None
) -> None:
    good = {
        "seconds": {"export": 1.5, "compile": 0.5}, "code_bytes": 32_768, "fused": 0,
        "clean": {"valgrind": True}, "page": {"rows": 1_000, "equal": 1_000},
    }  # fmt: skip
    found = toolchain.failures(good | change)
    assert [each[: len(line or "")] for each in found] == ([] if line is None else [line])


def test_saved_models_are_the_same(tmp_path: Path) -> None:
    base = np.random.default_rng(0).normal(size=(50, 4))
    cases = {name: BenchModel(model, base) for name, model in ensembles().items()}
    save(tmp_path, cases)
    found = saved(tmp_path)
    assert list(found) == list(cases)
    for name, case in cases.items():
        assert image(found[name]) == image(case)
        assert found[name].base.tobytes() == base.tobytes()


def test_rows_are_on_each_cut_and_next_to_it_and_odd() -> None:
    model = ensembles()["32-bit masks"]
    base = np.random.default_rng(0).normal(size=(50, 4))
    rows = rows_of(BenchModel(model, base), 20_000)
    assert len(rows) == 20_000
    for feature, cut in cuts_of(model):
        column = rows[:, int(feature)]
        for value in (cut, np.nextafter(cut, np.inf), np.nextafter(cut, -np.inf)):
            assert (column == value).any()
    for odd in (np.inf, -np.inf, 5e-324, 1e-310):
        assert (rows == odd).any()
    assert np.isnan(rows).any()
    assert (np.signbit(rows) & (rows == 0)).any()
