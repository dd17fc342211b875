"""An interrupted job continues, and its output has the bytes of an undisturbed job."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from stream_scorer.batch.job import Order
from stream_scorer.batch.ledger import WorkDirectory
from stream_scorer.batch.run import run_batch
from stream_scorer.durable_files import replacing
from stream_scorer.errors import ModelError, SettingsError, StateError, UnavailableError
from stream_scorer.models.stores.deployment import load_models
from tests.support.batch.batch_cases import (
    AS_OF,
    ENVIRONMENT,
    MODEL,
    SETTINGS,
    content,
    delete,
    run,
    transactions,
    write,
)

_DIES = """
import os, signal, sys
from pathlib import Path
from stream_scorer.batch.run import run_batch
from stream_scorer.batch.job import Order
from stream_scorer.settings import load_settings

def told(progress):
    if progress.stage == sys.argv[7] and progress.rows >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

order = Order(sys.argv[1], Path(sys.argv[2]), sys.argv[4], as_of=int(sys.argv[5]), part_rows=600,
              features=True, sort=sys.argv[6] == "sort")
run_batch(load_settings({}), order, told)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three files; the last one has rows that are rejected."""
    directory = tmp_path_factory.mktemp("input")
    table = transactions(40, 40)
    third = table.num_rows // 3
    write(table.slice(0, third), directory / "1.parquet")
    write(table.slice(third, third), directory / "2.csv")
    lines = write(table.slice(2 * third), directory / "3.jsonl").read_text().splitlines()
    lines[10:10] = ["no row"]
    lines[500:500] = [lines[0]]
    (directory / "3.jsonl").write_text("\n".join(lines))
    return f"{directory}/*"


@pytest.mark.parametrize(
    ("rows", "way", "ending"),
    [
        (2_500, "sort", ".parquet"), (2_500, "", ""),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                (2_500, "sort", ".avro"), (700, "", ".parquet"), (700, "", ".avro"),
                (2_500, "", ".parquet"), (2_500, "", ".avro"), (700, "sort", ""),
            )
        ),
    ],
)  # fmt: skip
def test_kill_9_in_the_middle(
    source: str, rows: int, way: str, ending: str, tmp_path: Path
) -> None:
    whole = tmp_path / f"whole{ending}"
    run(source, whole, part_rows=600, features=True, sort=bool(way))
    out = tmp_path / f"out{ending}"
    _run_killed(source, out, rows, way, "score")
    report = run(source, out, part_rows=600, features=True, sort=bool(way))
    assert 0 < report.resumed_at < report.rows
    assert report.resumed_at % 600 == 0
    assert content(out) == content(whole)
    assert report.rejects is not None
    assert report.rejects.read_bytes() == (tmp_path / f"whole{ending}.rejects.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}{ending}{more}" for name in ("whole", "out") for more in ("", ".rejects.jsonl")
    }


def _run_killed(source: str, out: Path, rows: int, way: str, stage: str) -> None:
    """Run a job that kills itself in a stage, after a number of rows."""
    died = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", _DIES, source, str(out), str(rows), MODEL, str(AS_OF), way, stage],
        check=False,
        timeout=120,
        env=ENVIRONMENT,
    )
    assert died.returncode == -signal.SIGKILL
    assert not out.exists()


def test_kill_9_while_the_parts_are_merged(source: str, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    run(source, whole, part_rows=600, features=True)
    _run_killed(source, out, 0, "", "merge")
    work = WorkDirectory(out)
    assert (work.path / ".decisions.new").exists()
    assert not work.decisions.exists()
    report = run(source, out, part_rows=600, features=True)
    assert report.resumed_at == report.rows
    assert content(out) == content(whole)
    assert not work.path.exists()


class _StoppedError(Exception):
    pass


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("ending", "sort"), [(".parquet", False), (".parquet", True), ("", False), (".avro", False)]
)
def test_an_end_at_every_step_of_the_ledger(
    source: str, *, ending: str, sort: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends before, while and after each file is moved to its place."""
    whole, out = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    run(source, whole, part_rows=700, sort=sort)
    names: list[str] = []
    last, when = 0, ""

    @contextmanager
    def stopping(path: Path, mode: int) -> Iterator[BinaryIO]:
        names.append(path.name)
        stops = len(names) == last
        if stops and when == "before":
            raise _StoppedError
        with replacing(path, mode) as file:
            yield file
            if stops and when == "while":
                raise _StoppedError
        if stops:
            raise _StoppedError

    monkeypatch.setattr("stream_scorer.durable_files.replacing", stopping)
    monkeypatch.setattr("stream_scorer.batch.parquet.replacing", stopping)
    run(source, out, part_rows=700, sort=sort)
    delete(out)
    steps = len(names)
    assert steps >= 10
    assert {".parquet": "decisions", "": "_SUCCESS", ".avro": "ledger.json"}[ending] in names
    for number in range(1, steps + 1):
        for moment in ("before", "while", "after"):
            names.clear()
            last, when = number, moment
            with pytest.raises(_StoppedError):
                run(source, out, part_rows=700, sort=sort)
            assert not out.exists()
            last = 0
            run(source, out, part_rows=700, sort=sort)
            assert content(out) == content(whole)
            delete(out)


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_an_end_while_the_output_is_moved(
    source: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / name

    def stop(_: WorkDirectory) -> None:
        raise _StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(WorkDirectory, "remove", stop)
        with pytest.raises(_StoppedError):
            run(source, out)
    assert out.exists()
    before = content(out)
    report = run(source, out)
    assert report.resumed_at == report.rows
    assert content(out) == before
    assert not (tmp_path / f"{name}.unfinished").exists()


def _leave_unfinished(source: str, out: Path, **options: Any) -> None:
    """Interrupt a job after its first part."""

    def told(progress: Any) -> None:
        if progress.rows >= 1_300:
            raise KeyboardInterrupt

    order = Order(source, out, MODEL, **{"as_of": AS_OF, "part_rows": 600, **options})
    with pytest.raises(KeyboardInterrupt):
        run_batch(SETTINGS, order, told)
    assert (out.with_name(out.name + ".unfinished") / "ledger.json").exists()


@pytest.mark.parametrize(
    "options", [{"features": True}, {"sort": True}, {"since": 5}, {"as_of": 7}, {"part_rows": 500}]
)
def test_another_job_does_not_continue_it(
    source: str, options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    _leave_unfinished(source, out)
    with pytest.raises(StateError, match="unfinished job with another options"):
        run(source, out, **{"part_rows": 600, **options})
    assert run(source, out, part_rows=600).resumed_at >= 600


def test_another_input_does_not_continue_it(tmp_path: Path) -> None:
    table = transactions(40, 40)
    source = write(table, tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    _leave_unfinished(str(source), out)
    write(table.slice(1), source)
    with pytest.raises(StateError, match="unfinished job with another input"):
        run(source, out, part_rows=600)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("ledger.json", lambda data: data[:-9], "the ledger is damaged"),
        ("ledger.json", lambda data: data.replace(b'"format": 6', b'"format": 9'), "version"),
        ("ledger.json", lambda data: data.replace(b'"parts"', b'"pards"'), "damaged"),
        ("state-*", lambda data: data[:-1], "is damaged: its checksum"),
        ("state-*", lambda data: b"\x01" + data[1:], "is damaged: its checksum"),
        ("parts/part-00000.parquet", lambda data: data[:-1], "part-00000.parquet is missing or"),
    ],
)
def test_damaged_work_is_refused(
    source: str, name: str, spoil: Any, told: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    _leave_unfinished(source, out)
    (path,) = (tmp_path / "out.parquet.unfinished").glob(name)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StateError, match=told):
        run(source, out, part_rows=600)
    assert not out.exists()


@pytest.mark.parametrize("name", ["out", "out.avro"])
def test_lost_decisions_are_refused(source: str, name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    _leave_unfinished(source, out)
    decisions = WorkDirectory(out).decisions
    if decisions.is_dir():
        (decisions / "part-00000.parquet").unlink()
    else:
        decisions.write_bytes(decisions.read_bytes()[:1_000])
    with pytest.raises(StateError, match="the output is damaged: "):
        run(source, out, part_rows=600)
    assert not out.exists()


class _Failing:
    """A predictor that fails for every row.

    Args:
        feature_count: Number of feature columns.
    """

    def __init__(self, feature_count: int) -> None:
        self.feature_count = feature_count

    def scores(self, _: Any) -> Any:
        raise ValueError("no score")


def test_another_model_can_follow_one_that_fails(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_failing(*arguments: Any) -> Any:
        loaded = load_models(*arguments)
        predictor: Any = _Failing(loaded.model.predictor.feature_count)
        return replace(loaded, model=replace(loaded.model, predictor=predictor))

    out = tmp_path / "out.parquet"
    _leave_unfinished(source, out)
    with monkeypatch.context() as patch:
        patch.setattr("stream_scorer.batch.run.load_models", load_failing)
        with pytest.raises(ModelError, match="ValueError: no score"):
            run(source, out, part_rows=600)
    assert list(tmp_path.iterdir()) == []
    report = run_batch(SETTINGS, Order(source, out, "fraud:1.1.0", as_of=AS_OF))
    assert (report.resumed_at, out.exists()) == (0, True)


@pytest.mark.parametrize("name", ["out.parquet", "out.parquet.rejects.jsonl"])
def test_an_output_created_before_the_lock_is_left_alone(
    source: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> Any:
        (tmp_path / name).write_bytes(b"another job's")
        return load_models(*arguments)

    monkeypatch.setattr("stream_scorer.batch.run.load_models", slow)
    with pytest.raises(SettingsError, match=f"{name}: exists already"):
        run(source, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"another job's"


@pytest.mark.parametrize("name", ["out.parquet", "out.parquet.rejects.jsonl", "out"])
def test_an_output_that_is_made_while_the_job_runs_is_left_alone(
    source: str, name: str, tmp_path: Path
) -> None:
    form = name.removesuffix(".rejects.jsonl")
    out, whole = tmp_path / form, tmp_path / f"whole-{form}"
    run(source, whole)
    order = Order(source, out, MODEL, as_of=AS_OF)

    def make(_: Any) -> None:
        (tmp_path / name).write_bytes(b"another's")

    with pytest.raises(UnavailableError, match=f"{name}: was made by another"):
        run_batch(SETTINGS, order, make)
    assert (tmp_path / name).read_bytes() == b"another's"
    (tmp_path / name).unlink()
    report = run_batch(SETTINGS, order)
    assert report.resumed_at == report.rows
    assert content(out) == content(whole)
    rejects = (tmp_path / f"{form}.rejects.jsonl").read_bytes()
    assert rejects == (tmp_path / f"whole-{form}.rejects.jsonl").read_bytes()


def test_two_jobs_do_not_write_one_output(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    with (
        WorkDirectory(out).locked(),
        pytest.raises(SettingsError, match="another job is writing it"),
    ):
        run(source, out)


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_an_unfinished_output_holds_the_parts_of_its_ledger(
    source: str, name: str, tmp_path: Path
) -> None:
    out = tmp_path / name
    _leave_unfinished(source, out)
    work = WorkDirectory(out)
    lengths = json.loads((work.path / "ledger.json").read_text())["parts"]
    assert len(lengths) >= 1
    assert len(list(work.path.glob("state-*"))) == 1
    folder = work.parts if name == "out.parquet" else work.decisions
    found = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert found == {f"part-{at:05d}.parquet": length for at, length in enumerate(lengths)}
    # The complete output's own file or folder is only made at the end.
    assert work.decisions.exists() == (name == "out")
    assert not (work.decisions / "_SUCCESS").exists()
