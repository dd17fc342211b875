"""The matrix pins all libraries but its pair, and fails if a decision changes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.matrix import __main__ as matrix
from tests.matrix.__main__ import LOCK, PAIRS, Answer, ask, constraints, report, table

TOLD: dict[str, Any] = {
    "rows": 64, "promise": "decisions", "raw_equal": 60, "scores_equal": 50,
    "largest_difference": 2e-16, "flips": 0, "held": True,
}  # fmt: skip
SOUND = Answer("fraud:1.0.0", "2.2.6", "1.6.1", TOLD, "")


def test_pip_is_constrained_to_the_lock_and_the_pair() -> None:
    lock = LOCK.read_text()
    lines = constraints(lock, "2.2.6", "1.6.1").splitlines()
    assert lines[:2] == ["numpy==2.2.6", "scikit-learn==1.6.1"]
    names = [line.split("==")[0] for line in lines]
    assert names.count("numpy") == names.count("scikit-learn") == 1
    pinned = [line for line in lock.splitlines() if "==" in line and not line.startswith(" ")]
    assert set(names) == {line.split("==")[0] for line in pinned}
    assert "hash" not in "".join(lines)
    assert any(line.startswith("skops==") for line in lines)
    assert any("; " in line for line in lines)


def test_there_are_two_versions_of_each_at_least() -> None:
    assert len({numpy for numpy, _ in PAIRS}) >= 2
    assert len({scikit_learn for _, scikit_learn in PAIRS}) >= 2


@pytest.mark.thorough
def test_an_environment_is_asked_and_answers() -> None:
    answer = ask(Path(sys.executable), "fraud:1.0.0")
    assert answer.held
    assert answer.told is not None
    assert (answer.told["promise"], answer.told["installed"]["numpy"]) == ("bits", answer.numpy)
    refused = ask(Path(sys.executable), "fraud:9.9.9")
    assert (refused.held, refused.told) == (False, None)
    assert "fraud:9.9.9" in refused.reason


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (SOUND, 0),
        (Answer("fraud:1.0.0", "2.2.6", "1.6.1", {**TOLD, "flips": 1}, "flipped"), 1),
        (Answer("fraud:1.0.0", "2.2.6", "1.6.1", {**TOLD, "held": False}, "bits"), 1),
        (Answer("fraud:1.0.0", "2.2.6", "1.6.1", None, "refused"), 1),
    ],
)
def test_it_leaves_with_1_when_something_is_wrong(
    answer: Answer, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["matrix", "--quick"])
    monkeypatch.setattr(matrix, "environment", lambda *_: Path("python"))
    monkeypatch.setattr(matrix, "ask", lambda *_: answer)
    assert matrix.main() == code
    lines = capsys.readouterr().out.splitlines()
    last = json.loads(lines[-1])
    assert last["flips"] == (answer.told or {}).get("flips", 0) * 2 * len(matrix.models())
    assert bool(last["refused"]) == bool(code)


def test_what_is_printed() -> None:
    heading, line = table([SOUND])
    assert heading.split()[:3] == ["numpy", "scikit-learn", "model"]
    assert line.split()[:5] == ["2.2.6", "1.6.1", "fraud:1.0.0", "decisions", "60/64"]
    other = Answer("fraud:1.1.0", "2.3.5", "1.6.1", TOLD, "")
    found = report([SOUND, other])
    assert (found["environments"], found["rows"]) == (2, 128)
    assert (found["numpy"], found["scikit_learn"]) == (["2.2.6", "2.3.5"], ["1.6.1"])
