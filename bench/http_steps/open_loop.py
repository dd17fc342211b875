"""Latency: vegeta's library sends on a schedule, however late the answers are.

A request's latency begins when it was due, even if it was sent later. So a server that stops for
100 ms makes all requests of these 100 ms late, not only those in flight.
"""

import base64
import csv
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from bench.http_steps import machine
from stream_scorer.ports import Float64, Int64

_LATE_SECONDS = 60.0
_LEAST_SENT = 0.9


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """n requests, in the order of the schedule.

    Attributes:
        due: float64[n], when each was due, seconds since the epoch.
        slip_ms: float64[n], from then until it was sent.
        latency_ms: float64[n], from when it was due until its answer had come.
        status: int64[n], HTTP status; 0: no answer.
        bodies: The n answers; empty if they were not kept.
    """

    due: Float64
    slip_ms: Float64
    latency_ms: Float64
    status: Int64
    bodies: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls, sent: Float64, took_ms: Float64, status: Int64, rate: float,
        bodies: tuple[bytes, ...] = (),
    ) -> Self:  # fmt: skip
        """Return the requests of a schedule.

        The schedule begins so that no request was sent before it was due, and one was sent just
        then.

        Args:
            sent: float64[n], when request i of the schedule was sent, seconds since the epoch.
            took_ms: float64[n], from then until the answer.
            status: int64[n].
            rate: Requests a second.
            bodies: The answers, or empty.

        >>> late = OpenLoop.of(np.array([1.0, 1.35]), np.array([2.0, 2.0]), np.array([200] * 2), 10)
        >>> late.slip_ms.round(3).tolist(), late.latency_ms.round(3).tolist()
        ([0.0, 250.0], [2.0, 252.0])
        """
        steps = np.arange(len(sent)) / rate
        due = float((sent - steps).min()) + steps if len(sent) else steps
        slip = (sent - due) * 1e3
        return cls(due, slip, slip + took_ms, status, bodies)

    def after(self, seconds: float) -> "OpenLoop":
        """Return the requests that were due at least so many seconds after the first."""
        chosen = self.due >= self.due[0] + seconds
        bodies = tuple(each for each, kept in zip(self.bodies, chosen, strict=False) if kept)
        return OpenLoop(
            self.due[chosen], self.slip_ms[chosen], self.latency_ms[chosen], self.status[chosen],
            bodies,
        )  # fmt: skip

    def latencies(self, *status: int) -> Float64:
        """Return the latencies of the answers with one of these statuses, ms."""
        return self.latency_ms[np.isin(self.status, status)]

    def percentile(self, share: float, *status: int) -> float:
        """Return a percentile of the latencies in ms; NaN without answers of these statuses."""
        found = self.latencies(*status) if status else self.latency_ms
        return round(float(np.percentile(found, share)), 3) if len(found) else float("nan")


def target_line(url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Return a request as a line of vegeta's JSON format."""
    return json.dumps(
        {
            "method": "POST", "url": url, "body": base64.b64encode(body).decode(),
            "header": {name: [value] for name, value in headers.items()},
        }
    )  # fmt: skip


class ScheduledLoad:
    """Requests on a schedule, sent by a process of its own from now on.

    Args:
        targets: One line for each request, or one for all; see :func:`target_line`.
        rate: Requests a second.
        seconds: For how long.
        folder: For its files.
    """

    def __init__(self, targets: Iterable[str], rate: int, seconds: float, folder: Path) -> None:
        self._rate, self._seconds = rate, seconds
        self._results = folder / "results.csv"
        file = folder / "targets.json"
        with file.open("w") as out:
            out.writelines(f"{line}\n" for line in targets)
        command = [
            machine.vegeta(), "-targets", str(file), "-rate", str(rate),
            "-duration", f"{seconds:.3f}s", "-output", str(self._results),
        ]  # fmt: skip
        _, generator = machine.cores()
        with machine.pinned(generator):
            self._process = subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: S603 vegeta

    def results(self, *, bodies: bool = False) -> OpenLoop:
        """Wait for the end; return the requests.

        Raises:
            SystemExit: It failed, or sent too few requests: it leaves out those that are due when
                the time is over. What it sent late counts as late.
        """
        _, said = self._process.communicate(timeout=self._seconds + _LATE_SECONDS)
        if self._process.returncode:
            raise SystemExit(f"vegeta: {said.decode().strip()}")
        rows = self._results.read_text().splitlines()
        found = read_results(rows, self._rate, bodies=bodies)
        wanted = round(self._rate * self._seconds)
        if len(found.due) < _LEAST_SENT * wanted:
            raise SystemExit(f"vegeta: sent {len(found.due)} of {wanted} requests")
        return found


def attack(
    targets: Iterable[str], rate: int, seconds: float, folder: Path, *, bodies: bool = False
) -> OpenLoop:
    """Send requests on a schedule, and wait for all answers; see :class:`ScheduledLoad`."""
    return ScheduledLoad(targets, rate, seconds, folder).results(bodies=bodies)


def read_results(lines: Iterable[str], rate: float, *, bodies: bool = False) -> OpenLoop:
    """Return the requests of vegeta's results in CSV.

    >>> row = "{}000000,200,2000000,9,2,,aGk=,,{},POST,http://a,"
    >>> found = read_results([row.format(1350, 1), row.format(1000, 0)], 10, bodies=True)
    >>> found.latency_ms.round(3).tolist(), found.bodies
    ([2.0, 252.0], (b'hi', b'hi'))
    """
    rows = sorted(csv.reader(lines), key=lambda row: int(row[8]))
    sent = np.array([int(row[0]) for row in rows], np.float64) / 1e9
    took = np.array([int(row[2]) for row in rows], np.float64) / 1e6
    status = np.array([int(row[1]) for row in rows], np.int64)
    kept = tuple(base64.b64decode(row[6]) for row in rows) if bodies else ()
    return OpenLoop.of(sent, took, status, rate, kept)
