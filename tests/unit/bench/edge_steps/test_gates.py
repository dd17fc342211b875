"""The bench of exported models: its gates, and rows near everything that may change a result."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import edge
from bench.edge_steps import equality, speed, toolchain
from bench.edge_steps.equality import Unfused, image
from bench.edge_steps.models import BenchModel, rows_of, save, saved
from stream_scorer.edge.export.golden_rows import cuts_of
from stream_scorer.edge.native.image import RESULT
from tests.support.edge.edge_models import ensembles


def test_each_row_must_be_equal_and_each_digest_the_same() -> None:
    bits = {"rows": 10, "equal": {"c": 10}}
    digests = {"boosting": {"stream": "a", "c": "a"}}
    same = Unfused(digests, 272)

    def failures(document: dict[str, Any], unfused: Unfused, *, fuses: bool = True) -> list[str]:
        return edge.equality_failures(document, digests, unfused, fuses=fuses)

    assert failures(bits, same) == []
    assert failures(bits | {"equal": {"c": 9}}, same) == ["c: 9 rows are equal, must be 10"]
    other = Unfused({"boosting": {"stream": "a", "c": "b"}}, 272)
    assert failures(bits, other) == [
        "boosting: c has other results without fused operations in the C library"
    ]
    assert failures(bits, Unfused(digests, 0)) == [
        "0 scores of the other C library are its own, must be at least 1"
    ]
    assert failures(bits, Unfused(digests, 0), fuses=False) == []


@pytest.mark.parametrize(
    ("text", "fuses"),
    [("flags\t\t: fpu fma avx2\n", True), ("flags : fpu fma4 avx2\n", False), ("", False)],
)
def test_a_machine_with_fused_operations_says_so(
    text: str, *, fuses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(equality, "CPU", tmp_path / "cpuinfo")
    assert equality.fuses() is fuses


def test_equal_rows_are_those_of_equal_bytes() -> None:
    want = np.zeros(3, RESULT)
    found = want.copy()
    # Equal as numbers, and other bits.
    found["score"][1] = -0.0
    assert equality.equal_rows(want, want) == 3
    assert equality.equal_rows(found, want) == 2


def made_step(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int) -> None:
    """Let a part's process print a text and end with a code."""
    program = folder / "program"
    program.write_text(f'#!/bin/sh\necho "$3" >> {folder}/asked\n{text}\nexit {code}\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_part_in_its_own_process_has_report_and_gates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = json.dumps({"lost": 1, "duplicates": 0, "missed": ["1 rows lost, must be 0"]})
    made_step(tmp_path, monkeypatch, f"echo a table; echo '{report}'", 1)
    found = edge.apart("offline", quick=True)
    assert found == ({"lost": 1, "duplicates": 0}, ["offline: 1 rows lost, must be 0"])
    assert (tmp_path / "asked").read_text() == "--quick\n"


@pytest.mark.parametrize(("text", "code"), [("", 0), ("echo no report", 1), ("echo '{}'", 2)])
def test_a_part_without_a_report_misses_a_gate(
    text: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_step(tmp_path, monkeypatch, text, code)
    line = f"offline: ended with code {code} and without a report"
    assert edge.apart("offline", quick=False) == ({"ended_with": code}, [line])


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
