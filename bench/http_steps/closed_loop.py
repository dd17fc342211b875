"""Requests a second: h2load keeps a number of requests in flight, so the server is never idle.

It also sends gRPC on a schedule, which vegeta cannot. h2load's log has one line for each request:
when it was sent (microseconds since the epoch), its status, and how long it took (microseconds).
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.http_steps import machine
from bench.http_steps.open_loop import OpenLoop

WARM_UP_SECONDS = 1.0
_MARGIN_SECONDS = 0.3
_LATE_SECONDS = 60.0
_COUNTS = re.compile(r"^requests: .* (\d+) done, (\d+) succeeded", re.MULTILINE)
_RATE = re.compile(r"^finished in .*, ([\d.]+) req/s", re.MULTILINE)
_DATA = re.compile(r"\((\d+)\) data$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked, again and again.

    Attributes:
        url: Where.
        headers: Header fields, each ``name: value``.
        body: File of the body.
        answer_bytes: Length of each answer's body; 0: not checked.
        http1: Whether HTTP/1.1; otherwise HTTP/2 without TLS.
        refusals: Whether answers may be refusals.
    """

    url: str
    headers: tuple[str, ...]
    body: Path
    answer_bytes: int = 0
    http1: bool = True
    refusals: bool = False


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What a closed loop measured.

    Attributes:
        rps: Answered requests a second.
        busy: Share of a core that the server used; 1.0 is all of it.
    """

    rps: float
    busy: float


def saturate(target: Target, pid: int, seconds: float, clients: int, each: int = 1) -> ClosedLoop:
    """Keep ``clients`` times ``each`` requests in flight.

    Args:
        target: What is asked.
        pid: The server's process.
        seconds: For how long, after a warm-up.
        clients: Connections.
        each: Requests in flight of each.

    Raises:
        SystemExit: An answer failed, or has another length.
    """
    command = ["--clients", str(clients), "--max-concurrent-streams", str(each), "--duration"]
    # h2load's own warm-up counts among the bytes of the answers, which are compared.
    _h2load([*command, _milliseconds(WARM_UP_SECONDS)], target, WARM_UP_SECONDS)
    with machine.Busy(pid, _MARGIN_SECONDS, seconds - 2 * _MARGIN_SECONDS) as busy:
        said = _h2load([*command, _milliseconds(seconds)], target, seconds)
    return ClosedLoop(rate_of(said, target, clients * each), busy.share)


def paced(target: Target, rate: int, seconds: float, log: Path) -> OpenLoop:
    """Send on one HTTP/2 connection, on a schedule, however late the answers are.

    Args:
        target: What is asked.
        rate: Requests a second, at most 100: h2load looks every 10 ms at what is due.
        seconds: For how long.
        log: File that is written.

    Raises:
        SystemExit: An answer failed, or has another length.
    """
    log.unlink(missing_ok=True)
    command = [
        "--clients", "1", "--max-concurrent-streams", "100", "--rps", str(rate),
        "--requests", str(round(rate * seconds)), "--log-file", str(log),
    ]  # fmt: skip
    said = _h2load(command, target, seconds)
    rate_of(said, target)
    return read_log(log.read_text().splitlines(), rate)


def read_log(lines: Sequence[str], rate: float) -> OpenLoop:
    r"""Return the latencies of a log, counted from the schedule.

    The requests are numbered in the order in which they were sent.

    >>> read_log(["1000000\t200\t500", "1350000\t200\t500"], 10).latency_ms.tolist()
    [0.5, 250.5]
    """
    rows = np.array([line.split("\t")[:3] for line in lines], np.float64)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return OpenLoop.of(rows[:, 0] / 1e6, rows[:, 2] / 1e3, rows[:, 1].astype(np.int64), rate)


def rate_of(said: str, target: Target, in_flight: int = 0) -> float:
    """Return the requests a second of h2load's report.

    Args:
        said: The report.
        target: What was asked.
        in_flight: Answers that may have come after the end, and count among the bytes only.

    Raises:
        SystemExit: An answer failed, or has another length: gRPC reports errors with status 200.
    """
    counts, rate, data = (each.search(said) for each in (_COUNTS, _RATE, _DATA))
    if counts is None or rate is None or data is None:
        raise SystemExit(f"h2load: {said.strip()[-1000:]}")
    done, succeeded = int(counts[1]), int(counts[2])
    if not done or (succeeded != done and not target.refusals):
        raise SystemExit(f"h2load: {succeeded} of {done} requests succeeded")
    expected = 0 if target.refusals else target.answer_bytes
    if expected and not done * expected <= int(data[1]) <= (done + in_flight) * expected:
        raise SystemExit(f"h2load: {int(data[1]) / done:.1f} bytes an answer, not {expected}")
    return float(rate[1])


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1e3)}ms"


def _h2load(options: Sequence[str], target: Target, seconds: float) -> str:
    headers = [part for each in target.headers for part in ("--header", each)]
    kind = ["--h1"] if target.http1 else []
    command = [
        machine.h2load(), "--threads", "1", *kind, *options, *headers, "--data", str(target.body),
        target.url,
    ]  # fmt: skip
    _, generator = machine.cores()
    with machine.pinned(generator):
        ended = subprocess.run(  # noqa: S603 the generator
            command, capture_output=True, text=True, check=False, timeout=seconds + _LATE_SECONDS
        )
    if ended.returncode:
        raise SystemExit(f"h2load: {ended.stderr.strip() or ended.stdout.strip()}")
    return ended.stdout
