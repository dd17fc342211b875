"""A merged report is complete or names what is missing."""

import json
from pathlib import Path

import pytest

from tests.faults.suite.__main__ import main
from tests.faults.suite.registry import KINDS
from tests.faults.suite.report import Proof, Result, merged, read_results


def whole(folder: Path, seeds: range) -> None:
    for seed in seeds:
        for kind in KINDS.values():
            Result(kind.name, kind.family, seed, 1.0, 1, ["it"], True, "", 0.5, {}).write(folder)
    Proof(4, 4, rebirth_off_fails=True).write(folder)


def report(folder: Path, seeds: int, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = main(["--merge", "--reports", str(folder), "--seeds", str(seeds)])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])["missing"]


def test_a_run_that_left_no_file_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole(tmp_path, range(1, 3))
    assert report(tmp_path, 2, capsys) == (0, [])
    assert report(tmp_path, 3, capsys)[0] == 1
    (tmp_path / "2-join.json").unlink()
    assert report(tmp_path, 2, capsys) == (1, ["2-join"])


def test_a_report_without_its_proof_is_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole(tmp_path, range(1, 2))
    (tmp_path / "proof.json").unlink()
    assert report(tmp_path, 1, capsys) == (1, ["proof"])


def test_the_gateways_answers_are_summed() -> None:
    found = {
        "calls": 5,
        "statuses": {"200": 3, "503": 2},
        "problems": {"overloaded": 2},
        "planted": 24,
        "noticed": 24,
    }
    results = [
        Result("gateway_kills", "gateway", seed, 1.0, 1, ["it"], True, "", 0.5,
               {"sent": 7, "answers": seed, "asked": found | {"longest_resume_seconds": seed}})
        for seed in (1, 2)
    ]  # fmt: skip
    summed = merged(results, None)
    assert summed["other_faults"] == 3
    assert summed["answers"] == {
        "calls": 10, "transactions": 0, "repeats": 0, "lost": 0, "not_connected": 0,
        "planted": 48, "noticed": 48, "statuses": {"200": 6, "503": 4},
        "problems": {"overloaded": 4},
        "longest_resume_seconds": 2,
    }  # fmt: skip
    assert merged([], None)["answers"]["statuses"] == {}


def test_the_alerts_of_each_run_are_reported(tmp_path: Path) -> None:
    alerts = {"primary": "DecisionsLate", "pages": ["DecisionsLate"], "tickets": [], "late": 7}
    watched = Result("join", "group", 1, 1.0, 1, ["it"], True, "", 0.5, {}, alerts)
    plain = Result("leave", "group", 1, 1.0, 1, ["it"], True, "", 0.5)
    for each in (watched, plain):
        each.write(tmp_path)
    assert merged(read_results(tmp_path), None)["alerts"] == {"1-join": alerts}
