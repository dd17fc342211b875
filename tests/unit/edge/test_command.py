"""The command ``export``: its report, its options, and its exit codes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.cli.main import main
from stream_scorer.security.keys import generate
from tests.support.edge.exported import LABEL, store_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("edge"))


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[int, str, str]:
    """Return exit code, output and errors of the command."""
    monkeypatch.setattr(sys, "argv", ["stream-scorer", "export", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, told.out, told.err


def test_the_report_names_folder_rows_and_sizes(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = generate(tmp_path / "key")
    out = tmp_path / "made here"
    code, told, err = run(
        capsys, monkeypatch, LABEL, "--target", "python", "--out", out, "--store", store,
        "--key", pair.private, "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    document = json.loads(told)
    assert (document["model"], document["target"], document["signed"]) == (LABEL, "python", True)
    assert document["table_bytes"] == (out / "tables.bin").stat().st_size
    assert document["golden_rows"] > 1_000
    assert json.loads((out / "signature.json").read_text())["key_id"] == pair.key_id
    assert document["check"] == f"PYTHONPATH='{out}' python -m stream_scorer_edge.check '{out}'"
    command = document["check"].replace(" python ", f" {shlex.quote(sys.executable)} ")
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S602 the report's own command
    assert done.stdout == f"{document['golden_rows']} golden rows, 0 differ\n"


def test_a_plan_that_is_named_has_the_policy(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.toml").write_text((store / "fraud" / "plan.toml").read_text())
    code, _, err = run(
        capsys, monkeypatch, LABEL, "--target", "c", "--out", tmp_path / "made", "--store", store,
        "--plan", tmp_path / "plan.toml",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "made" / "policy.json").read_text())["segments"] == []


@pytest.mark.parametrize(
    ("model", "more", "code", "text"),
    [
        ("fraud:1.0.1", (), 15, "models upgrade fraud:1.0.1 --engine 3"),
        ("fraud:9.9.9", (), 3, "not in"),
        (LABEL, ("--key", "missing.pem"), 2, "missing.pem"),
        (LABEL, ("--plan", "missing.toml"), 2, "missing.toml"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, model: str, more: tuple[str, ...], code: int, text: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    left, out, err = run(
        capsys, monkeypatch, model, "--target", "c", "--out", "made", "--store", store, *more
    )
    assert (left, out) == (code, "")
    assert text in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
