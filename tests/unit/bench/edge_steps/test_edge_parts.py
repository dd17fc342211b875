"""The bench of devices: it notices rows that differ, and reports each part that runs on its own."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import edge
from bench.edge_steps import equality
from bench.edge_steps.equality import Unfused
from stream_scorer.edge.native.image import RESULT


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
