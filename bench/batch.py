"""Score a file with ``stream-scorer batch``, as cron would: speed, memory, and a kill -9.

Each row is a separate process, measured from its start to its end.

- **speed**: 183 simulated days (1,754,155 transactions) from Parquet, decisions as Parquet and as
  Avro, by a HistGradientBoosting of 100 iterations on the customer's own features (fraud:1.0.0).
- **memory**: the peak of a job over some days, and over ten times as many with the same customers:
  the shipped model (fraud:1.1.0) with labels, and some rows that are rejected.
- **resume**: such a job is killed with SIGKILL after its third part and run again; decisions and
  rejects are compared, byte for byte, with those of an undisturbed job.

It fails below 200,000 rows/s with Parquet out, when ten times the days take more than 1.2 times the
memory, when nothing was rejected or a decision is degraded, or when the resumed output differs.
"""

import filecmp
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.harness.script import Number, Script, missed, table
from stream_scorer.simulator import simulate

DAYS, TIMES = 183, 10
LEAST_RATE, MOST_MEMORY = 200_000, 1.2
_SIMPLE, _SHIPPED = "fraud:1.0.0", "fraud:1.1.0"
_BAD_EVERY = 1_000
"""One in so many rows is rejected."""
_AS_OF = "2026-01-01T00:00:00Z"
_PARTS_BEFORE_THE_KILL = 3
_PARTS = 9
_WARM_UP_ROWS = 60_000
_DEADLINE = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """A job that ended: seconds of its process, its peak memory, and its output."""

    seconds: float
    peak_mb: float
    report: dict[str, Any]


def _command(source: Path, out: Path, model: str, *options: str) -> list[str]:
    program = Path(sys.executable).with_name("stream-scorer")
    return [str(program), "batch", str(source), str(out), "--model", model, "--as-of", _AS_OF,
            "--json", *options]  # fmt: skip


def job(source: Path, out: Path, model: str, *options: str) -> Run:
    """Run a job and measure it.

    Raises:
        SystemExit: It failed; with its output.
    """
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 our own program
        _command(source, out, model, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        said = process.stdout.read() if process.stdout else b""
        complaint = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"the job left with {process.returncode}: {complaint.decode()}")
    return Run(seconds, usage.ru_maxrss / 1024, json.loads(said))


def repeated(table: pa.Table, times: int, path: Path) -> int:
    """Write a table several times one after the other, each copy later and with different ids.

    Some amounts are negative, so that their rows are rejected.

    Returns:
        How many rows were written.
    """
    at = table.schema.get_field_index("event_time")
    identity = table.schema.get_field_index("transaction_id")
    names = table["transaction_id"]
    amount = table["amount_minor"].to_numpy().copy()
    amount[::_BAD_EVERY] = -1
    amounts = table.schema.get_field_index("amount_minor")
    table = table.set_column(amounts, table.schema.field(amounts), pa.array(amount))
    with pq.ParquetWriter(path, table.schema) as writer:
        for number in range(times):
            later = table["event_time"].cast(pa.int64()).to_numpy() + number * DAYS * 86_400_000
            copy = table.set_column(
                at, table.schema.field(at), pa.array(later).cast(table.schema.field(at).type)
            )
            unique = pc.binary_join_element_wise(names, str(number), "-")
            copy = copy.set_column(identity, table.schema.field(identity), unique)
            writer.write_table(copy, row_group_size=200_000)
    return times * int(table.num_rows)


def killed_and_resumed(source: Path, rows: int, directory: Path) -> tuple[int, bool]:
    """Kill a job over ``rows`` rows in the middle, run it again, and compare.

    Returns:
        From which row it continued, and whether decisions and rejects are those of an undisturbed
        job.

    Raises:
        SystemExit: The job ended before it could be killed, or did not get as far in time.
    """
    options = (_SHIPPED, "--labels", str(source), "--part-rows", str(rows // _PARTS))
    alone, out = directory / "alone.parquet", directory / "resumed.parquet"
    job(source, alone, *options)
    ledger = directory / "resumed.parquet.unfinished" / "ledger.json"
    with subprocess.Popen(  # noqa: S603 our own program
        _command(source, out, *options), stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + _DEADLINE
        while not (
            ledger.exists() and len(json.loads(ledger.read_text())["parts"])
            >= _PARTS_BEFORE_THE_KILL
        ):  # fmt: skip
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SystemExit("the job was not in the middle when it was to be killed")
            time.sleep(0.005)
        process.kill()
    if out.exists():
        raise SystemExit("the killed job left an output that looks whole")
    resumed = job(source, out, *options)
    equal = all(
        filecmp.cmp(f"{alone}{more}", f"{out}{more}", shallow=False)
        for more in ("", ".rejects.jsonl")
    )
    return int(resumed.report["resumed_at"]), equal


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each check that a report does not pass."""
    lines = missed(
        ("{} rows/s with Parquet out", document["rows_per_second"], ">=", LEAST_RATE),
        (
            f"{TIMES} times the days take {{}} times the memory",
            document["memory_ratio"], "<=", MOST_MEMORY,
        ),
        ("{} decisions of the job with labels are degraded", document["degraded"], "==", 0),
    )  # fmt: skip
    if not document["rejected"]:
        lines.append("the job with labels rejected no row, so its rejects were not measured")
    if not 0 < document["resumed_at"] < document["memory_rows"][0]:
        lines.append(f"the killed job resumed at row {document['resumed_at']}, not in the middle")
    if not document["resumed_equal"]:
        lines.append("the resumed output is not that of an undisturbed job")
    return lines


def measure(directory: Path, rounds: int, customers: int) -> dict[str, Any]:
    """Run all jobs and return the report.

    Args:
        directory: Where files are written.
        rounds: Jobs of each output format whose speed is measured.
        customers: Of the jobs whose memory is measured.
    """
    transactions = simulate(DAYS)
    source = directory / "days.parquet"
    pq.write_table(transactions, source, row_group_size=200_000)
    pq.write_table(transactions.slice(0, _WARM_UP_ROWS), directory / "first.parquet")
    # Compilation on first use is not measured.
    for name in ("warm.parquet", "warm.avro"):
        job(directory / "first.parquet", directory / name, _SIMPLE)
    first = directory / "first.parquet"
    job(first, directory / "warm-labels.parquet", _SHIPPED, "--labels", str(first))
    seconds: dict[str, list[float]] = {"parquet": [], "avro": []}
    for _ in range(rounds):
        for kind, taken in seconds.items():
            out = directory / f"speed.{kind}"
            taken.append(job(source, out, _SIMPLE).seconds)
            out.unlink()
    short = simulate(DAYS, customers)
    once, often = directory / "once.parquet", directory / "often.parquet"
    short_rows, long_rows = repeated(short, 1, once), repeated(short, TIMES, often)
    few = job(once, directory / "once-out.parquet", _SHIPPED, "--labels", str(once))
    many = job(often, directory / "often-out.parquet", _SHIPPED, "--labels", str(often))
    often.unlink()
    resumed_at, equal = killed_and_resumed(once, short_rows, directory)
    rows = int(transactions.num_rows)
    return {
        "rows": rows,
        "rows_per_second": round(rows / statistics.median(seconds["parquet"])),
        "avro_rows_per_second": round(rows / statistics.median(seconds["avro"])),
        "seconds": {kind: [round(one, 2) for one in taken] for kind, taken in seconds.items()},
        "memory_customers": customers,
        "memory_rows": [short_rows, long_rows],
        "memory_days": [DAYS, DAYS * TIMES],
        "peak_mb": [round(few.peak_mb, 1), round(many.peak_mb, 1)],
        "memory_ratio": round(many.peak_mb / few.peak_mb, 3),
        "rejected": sum(many.report["rejected"].values()),
        "degraded": many.report["degraded"],
        "shipped_rows_per_second": round(long_rows / many.seconds),
        "resumed_at": resumed_at,
        "resumed_equal": equal,
        "processors": os.cpu_count(),
        "rounds": rounds,
    }


def main() -> int:
    script = Script(
        __doc__, "one round, fewer customers",
        rounds=Number(5, 1), customers=Number(5_000, 1_000),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        document = measure(Path(directory), script.options.rounds, script.options.customers)
    found, customers = document, document["memory_customers"]
    same = "equal" if found["resumed_equal"] else "not equal"
    return script.conclude(
        document,
        failures(document),
        table(
            "stream-scorer batch",
            "job", "rows", "rows/s", "peak MB",
            rows=(
                (f"{_SIMPLE}: to Parquet", found["rows"], found["rows_per_second"], None),
                (f"{_SIMPLE}: to Avro", found["rows"], found["avro_rows_per_second"], None),
                *(
                    (
                        f"{_SHIPPED} with labels: {days:,} days of {customers:,} customers",
                        found["memory_rows"][at],
                        found["shipped_rows_per_second"] if at else None,
                        found["peak_mb"][at],
                    )
                    for at, days in enumerate(found["memory_days"])
                ),
            ),
        ),
        f"killed, and resumed at row {found['resumed_at']:,}: the output is {same} to that of an "
        "undisturbed job",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
