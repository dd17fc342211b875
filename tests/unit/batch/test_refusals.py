"""Bad input or output gives one line that names it, an exit code, and no leftover files."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.cli.main import main
from tests.support.batch.batch_cases import (
    ENVIRONMENT,
    MODEL,
    STORE,
    run,
    transactions,
    write,
)

TABLE = transactions(12, 20)
Made = Path | str
Make = Callable[[Path], Made]


def _set(name: str, values: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), name, values)


def _parquet(table: pa.Table) -> Make:
    def make(directory: Path) -> Path:
        pq.write_table(table, directory / "in.parquet", row_group_size=500)
        return directory / "in.parquet"

    return make


def _cut(ending: str, share: float) -> Make:
    def make(directory: Path) -> Path:
        path = write(TABLE, directory / f"in{ending}")
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    return make


def _bytes(name: str, data: bytes) -> Make:
    def make(directory: Path) -> Path:
        (directory / name).write_bytes(data)
        return directory / name

    return make


def _csv(change: Callable[[list[bytes]], list[bytes]]) -> Make:
    def make(directory: Path) -> Path:
        path = write(TABLE, directory / "in.csv")
        path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))
        return path

    return make


def _spoilt(directory: Path) -> Path:
    """A Parquet file with a valid footer and damaged data."""
    path = directory / "in.parquet"
    pq.write_table(TABLE, path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    return path


def _avro(schema: object, records: list[object]) -> Make:
    def make(directory: Path) -> Path:
        with (directory / "in.avro").open("wb") as file:
            fastavro.writer(file, schema, records)  # type: ignore[arg-type]
        return directory / "in.avro"

    return make


def _twice(directory: Path) -> Path:
    table = TABLE.append_column("amount_minor", TABLE["amount_minor"])
    pq.write_table(table, directory / "in.parquet")
    return directory / "in.parquet"


def _second_is_bad(directory: Path) -> str:
    write(TABLE.slice(0, 700), directory / "1.parquet")
    (directory / "2.parquet").write_bytes(b"PAR1 but not for long")
    return f"{directory}/*.parquet"


def _directory(directory: Path) -> Path:
    (directory / "in.parquet").mkdir()
    return directory / "in.parquet"


def _device(directory: Path) -> Path:
    (directory / "in.csv").symlink_to("/dev/null")
    return directory / "in.csv"


def _made(path: Path) -> Path:
    path.write_bytes(b"someone else's")
    return path


_ROWS = TABLE.num_rows
_NAMES = ("transaction_id", "customer_id", "terminal_id", "currency", "event_time", "amount_minor")
_FLOATS = {
    "type": "record",
    "name": "Floats",
    "fields": [{"name": name, "type": "double"} for name in _NAMES],
}
_RECORD = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "int"}]}
BAD_INPUT: dict[str, tuple[Make, int, str]] = {
    "no such file": (lambda d: d / "none.parquet", 2, "no such file"),
    "no file matches": (lambda d: f"{d}/*.parquet", 2, "matches no file"),
    "a directory": (_directory, 2, "is a directory"),
    "a device": (_device, 2, "is not a regular file"),
    "a name that is not UTF-8": (
        lambda d: write(TABLE, d / "in.parquet").rename(d / "in-\udcff.parquet"), 2,
        "its name is not UTF-8",
    ),
    "below a file": (lambda d: d / "out-of" / "x" / "in.csv", 2, "no such file"),
    "unknown ending": (_bytes("in.xlsx", b"x"), 2, "unknown kind of file"),
    "unknown protocol": (lambda _: "nope://bucket/in.parquet", 2, "Protocol not known: nope"),
    "half a Parquet file": (_cut(".parquet", 0.5), 2, "make it a valid .parquet file"),
    "an empty Parquet file": (_bytes("in.parquet", b""), 2, "in.parquet: "),
    "text called Parquet": (_bytes("in.parquet", b"a,b\n" * 50), 2, "in.parquet: "),
    "spoilt Parquet data": (_spoilt, 2, "in.parquet: "),
    "a bad second file": (_second_is_bad, 2, "2.parquet: "),
    "a column is missing": (
        _parquet(TABLE.drop_columns(["terminal_id"])), 2, "column 'terminal_id' is missing",
    ),
    "a CSV column is missing": (
        _csv(lambda lines: [lines[0].replace(b"currency", b"money"), *lines[1:]]), 2,
        "column 'currency' is missing",
    ),
    "an empty CSV file": (_bytes("in.csv", b""), 2, "column 'transaction_id' is missing"),
    "a JSON column is in no row": (
        _bytes("in.jsonl", b'{"transaction_id": "1"}\n'), 2, "no row can be decided: MALFORMED 1",
    ),
    "an Avro column of another type": (
        _avro(_FLOATS, [dict.fromkeys(_NAMES, 1.5)] * 3), 2, "no row can be decided: MALFORMED 3",
    ),
    "a column twice": (_twice, 2, "column 'amount_minor' is there twice"),
    "a CSV column twice": (
        _csv(lambda lines: [lines[0].replace(b"is_fraud", b"currency"), *lines[1:]]), 2,
        "column 'currency' is there twice",
    ),
    "a list for an amount": (
        _parquet(_set("amount_minor", pa.array([[1]] * _ROWS))), 2,
        "column 'amount_minor' is list",
    ),
    "a boolean for an amount": (
        _parquet(_set("amount_minor", pa.array([True] * _ROWS))), 2,
        "column 'amount_minor' is bool, not whole number",
    ),
    "a struct for a time": (
        _parquet(_set("event_time", pa.array([{"ms": 1}] * _ROWS))), 2, "column 'event_time'",
    ),
    "bytes for a text": (
        _parquet(_set("currency", pa.array([b"EUR"] * _ROWS))), 2, "column 'currency' is binary",
    ),
    "a CSV file in UTF-16": (
        _csv(lambda lines: [line.decode().encode("utf-16") for line in lines]), 2,
        "in.csv: 'utf-8'",
    ),
    "only ragged CSV rows": (
        _csv(lambda lines: [lines[0], *[b"1,2,3"] * 20]), 2, "no row can be decided: MALFORMED 20",
    ),
    "an archive that is not there": (
        lambda d: f"zip://in.parquet::file://{d}/none.zip", 2, "no such file",
    ),
    "an archive that is none": (
        lambda d: f"zip://in.parquet::file://{_made(d / 'in.zip')}", 2, "not a zip file",
    ),
    "a truncated Avro file": (_cut(".avro", 0.7), 2, "breaks off or is damaged"),
    "no Avro container": (_bytes("in.avro", b"Obj\x02 not so"), 2, "no Avro container"),
    "another Avro schema": (_avro(_RECORD, [{"a": 1}]), 2, "column 'transaction_id' is missing"),
    "Avro without a record": (_avro("string", ["a"]), 2, "schema is not a record"),
    "only unknown currencies": (
        _parquet(_set("currency", pa.array(["XYZ"] * _ROWS))), 2,
        f"no row can be decided: CURRENCY {_ROWS}",
    ),
    "only NaN for amounts": (
        _parquet(_set("amount_minor", pa.array([float("nan")] * _ROWS))), 2,
        f"no row can be decided: MALFORMED {_ROWS}",
    ),
    "only future dates": (
        _parquet(_set("event_time", pa.array(["9000-01-01"] * _ROWS))), 2,
        f"no row can be decided: TIME_AHEAD {_ROWS}",
    ),
    "only broken JSON": (
        _bytes("in.jsonl", b'{"a": \n' * 20), 2, "no row can be decided: MALFORMED 20",
    ),
    "out of order": (_parquet(TABLE.take(pa.array(range(_ROWS - 1, -1, -1)))), 2, "give --sort"),
}  # fmt: skip


def _line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stream-scorer", "batch", *arguments])
        patch.setenv(STORE, ENVIRONMENT[STORE])
        with pytest.raises(SystemExit) as left:
            main()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("stream-scorer: ")
    assert told.err.count("\n") == 1
    return int(left.value.code or 0), told.err


@pytest.mark.parametrize("kind", BAD_INPUT)
def test_bad_input_is_one_line_and_no_output(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, code, told = BAD_INPUT[kind]
    source = make(tmp_path)
    out = tmp_path / "output" / "out.parquet"
    out.parent.mkdir()
    found, line = _line([str(source), str(out), "--model", MODEL, "--part-rows", "100"], capsys)
    assert told in line
    assert found == code
    left = {path.name for path in out.parent.iterdir()}
    assert left == ({"out.parquet.rejects.jsonl"} if "no row can" in line else set())


BAD_ORDER: dict[str, tuple[Callable[[Path], list[str]], int, str]] = {
    "the output exists": (lambda d: [str(_made(d / "out.parquet"))], 2, "exists already"),
    "the rejects exist": (
        lambda d: [str(d / "out.avro"), "--rejects", str(_made(d / "r.jsonl"))], 2,
        "r.jsonl: exists already",
    ),
    "rejects on another disk": (
        lambda d: [str(d / "out.avro"), "--rejects", "/proc/r.jsonl"], 2, "on another disk",
    ),
    "no directory": (lambda d: [str(d / "no" / "out.parquet")], 2, "directory does not exist"),
    "the folder exists": (lambda d: [str(_made(d / "out"))], 2, "exists already"),
    "an output without a name": (lambda _: ["/"], 2, "unknown kind of file"),
    "unknown kind of output": (lambda d: [str(d / "out.csv")], 2, "unknown kind of file"),
    "a URL for the output": (lambda _: ["s3://bucket/out.parquet"], 2, "name a local file"),
    "the output is the rejects": (
        lambda d: [str(d / "o.parquet"), "--rejects", str(d / "o.parquet")], 2, "is the file of",
    ),
    "no permission": (lambda _: ["/proc/out.parquet"], 2, "name a place that can be written"),
    "an unknown model": (lambda d: [str(d / "o.avro"), "--model", "frod"], 3, "model frod: not in"),
    "an unknown version": (lambda d: [str(d / "o.avro"), "--model", "fraud:9.9.9"], 3, "9.9.9"),
    "no model's name": (lambda d: [str(d / "o.avro"), "--model", "a b"], 3, "not a reference"),
    "no plan": (lambda d: [str(d / "o.avro"), "--plan", str(d / "p.toml")], 2, "p.toml"),
    "a broken plan": (
        lambda d: [str(d / "o.avro"), "--plan", str(_made(d / "p.toml"))], 2, "not TOML",
    ),
    "labels that nothing needs": (
        lambda d: [str(d / "o.avro"), "--labels", str(d / "none.csv")], 2, "leave --labels out",
    ),
    "no time": (lambda d: [str(d / "o.avro"), "--since", "soon"], 2, "--since 'soon': not a time"),
    "no job's time": (lambda d: [str(d / "o.avro"), "--as-of", "1"], 2, "--as-of '1': not a time"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ORDER)
def test_bad_options_are_one_line_and_no_output(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(TABLE, tmp_path / "in.parquet")
    make, code, told = BAD_ORDER[kind]
    arguments = make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    model = [] if "--model" in arguments else ["--model", MODEL]
    found, line = _line([str(source), *arguments, *model], capsys)
    assert told in line
    assert found == code
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


_SMALL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from stream_scorer.cli.main import main
sys.argv[1:] = sys.argv[2:]
main()
"""


@pytest.mark.parametrize("ending", [".avro", pytest.param(".parquet", marks=pytest.mark.thorough)])
def test_output_that_a_full_disk_refused_can_be_written_later(ending: str, tmp_path: Path) -> None:
    """A limit on the file's size makes a write fail, as a full disk does."""
    source = write(TABLE, tmp_path / "in.parquet")
    whole = tmp_path / f"whole{ending}"
    run(source, whole, part_rows=100)
    out = tmp_path / f"out{ending}"
    limit = str(whole.stat().st_size // 2)
    arguments = [str(source), str(out), "--model", MODEL, "--part-rows", "100", "--as-of",
                 "2020-09-13T12:26:40Z"]  # fmt: skip
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", _SMALL, limit, "batch", *arguments],
        capture_output=True, text=True, check=False, timeout=120, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert f"output {out}: File too large — fix that" in done.stderr
    assert not out.exists()
    report = run(source, out, part_rows=100)
    assert report.resumed_at > 0
    assert out.read_bytes() == whole.read_bytes()
