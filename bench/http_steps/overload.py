"""Overload: who is refused is told quickly, who is accepted keeps its latency, probes answer.

The models are slow, so that the load is one of the scorers, not of the generator.
"""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from bench.harness.arena import FULL, Arena
from bench.harness.script import say
from bench.http_steps import closed_loop, decisions, open_loop, scores, slow
from bench.http_steps.contenders import MODEL, OURS, Clients, Servers
from bench.http_steps.open_loop import OpenLoop
from stream_scorer.devkafka.child import Child
from stream_scorer.ports import Float64

V1_ROW_MS: Final = 10.0
"""Slow enough that the model is the limit. With 4 ms a row, the rows of a batch that keeps within
twice the unloaded latency take hardly longer than its commit."""
V2_ROW_MS: Final = 5.0
V2_CONCURRENT: Final = 2
"""Requests that are computed or wait: one of each."""
UNLOADED, OVER_V1, OVER_V2, FAR_OVER_V2 = 0.3, 3.0, 1.3, 3.0
_PROBE_SECONDS: Final = 0.02
_SETTLE_SECONDS: Final = 3.0
"""The first seconds of an overload do not count: the limit has to find its value."""
_BACKLOG_SECONDS: Final = 4.0
_PARTS: Final = 3
_SAME_BATCH_SECONDS: Final = 0.1
"""Decisions that are read within this time are of one batch: later ones take longer to compute."""
FLOOD_CLIENTS: Final = 500
OK, ACCEPTED, UNAVAILABLE = 200, 202, 503


class Probes(threading.Thread):
    """Asks a process's probes all the time, as a balancer does; use it as ``with``.

    Args:
        child: The process.
    """

    def __init__(self, child: Child) -> None:
        super().__init__(daemon=True)
        self._child = child
        self._ending = threading.Event()
        self.took_ms: list[float] = []
        self.unready = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join()

    def run(self) -> None:
        """Ask until the end."""
        while not self._ending.wait(_PROBE_SECONDS):
            for ask in (self._child.live, self._child.ready):
                begin = time.perf_counter()
                try:
                    fine = ask()
                except (OSError, SystemExit):
                    # It does not answer, or has ended.
                    fine = False
                self.took_ms.append((time.perf_counter() - begin) * 1e3)
                self.unready += not fine

    @property
    def slowest_ms(self) -> float:
        """The slowest answer; NaN without one."""
        return round(max(self.took_ms), 1) if self.took_ms else float("nan")


def v1(seconds: float, folder: Path) -> dict[str, Any]:
    """Overload the scorers behind ``/v1``; return the report.

    Args:
        seconds: Of the overload, after it has settled.
        folder: For files.
    """
    say("overload of /v1")
    nominal = round(1e3 / V1_ROW_MS)
    whole = seconds + _SETTLE_SECONDS
    backlog = round(nominal * _BACKLOG_SECONDS)
    sent = decisions.TransactionRequests(
        round(nominal * (UNLOADED + OVER_V1) * whole) + backlog + 2
    )
    with Arena() as arena:
        run = ("module", slow.__name__, "run", str(V1_ROW_MS), "--from", "earliest", "--model")
        gateway = decisions.started(arena, "overload", Clients.made(folder), *run, FULL)
        with Probes(gateway.process) as probes:
            able = min(_capacity(gateway, sent, backlog), nominal)
            alone = sent.attack(gateway, round(able * UNLOADED), whole, folder)
            before = gateway.process.resident
            over = sent.attack(gateway, round(able * OVER_V1), whole, folder)
            grown = gateway.process.resident - before
    return report(able, alone.after(_SETTLE_SECONDS), over.after(_SETTLE_SECONDS)) | probed(
        probes, grown
    )


def _capacity(
    gateway: decisions.MeasuredGateway, sent: decisions.TransactionRequests, count: int
) -> float:
    """Return how many transactions a second the scorer decides when they wait for it."""
    reader = decisions.DecisionReading(gateway)
    # In parts, else the scorer takes all as one batch. The next part comes before it is due.
    for each in np.array_split(np.arange(count), _PARTS):
        sent.feed(gateway, len(each))
    reader.wait(count)
    seen = np.sort(np.array(list(reader.seen().values())))
    reader.stop()
    return steady_rate(seen)


def steady_rate(seen: Float64) -> float:
    """Return decisions a second after the first batch, which includes the start.

    Args:
        seen: float64[n], when each decision was read, seconds, in order.

    >>> steady_rate(np.array([5.0, 5.01, 6.0, 6.0, 7.0, 7.01]))
    2.0
    """
    later = seen[seen > seen[0] + _SAME_BATCH_SECONDS]
    if not len(later):
        raise SystemExit("all decisions came in one batch: no rate can be measured")
    return round(len(later) / float(later[-1] - seen[0]), 1)


def v2(seconds: float, folder: Path) -> dict[str, Any]:
    """Overload a slow model behind ``/v2``, then flood a fast one; return the report.

    Args:
        seconds: Of each load.
        folder: For files.
    """
    say("overload of /v2")
    clients = Clients.made(folder)
    servers = Servers(folder, clients)
    bound = {"inference": {"concurrent": V2_CONCURRENT}}
    try:
        slowed = servers.ours(
            "slow", "module", slow.__name__, "serve", str(V2_ROW_MS), "--model", MODEL,
            serving=bound,
        )  # fmt: skip
        target = scores.rest_target("slow", OURS, slowed, clients, folder)
        line = scores.line_of(target)
        with Probes(slowed.child) as probes:
            able = closed_loop.saturate(target, slowed.child.pid, seconds, V2_CONCURRENT).rps
            alone = open_loop.attack([line], round(able * UNLOADED), seconds, folder)
            before = slowed.child.resident
            over = open_loop.attack([line], round(able * OVER_V2), seconds, folder)
            far = open_loop.attack([line], round(able * FAR_OVER_V2), seconds, folder)
            grown = slowed.child.resident - before
        found = report(able, alone, over) | probed(probes, grown)
        found["far"] = _outcome(able, far)
        servers.close()
        found["flood"] = _flood(servers, clients, seconds, folder)
    finally:
        servers.close()
    return found


def _flood(
    servers: Servers, clients: Clients, seconds: float, folder: Path
) -> dict[str, Any]:  # fmt: skip
    """Ask a fast model by hundreds of clients at the same time; return what became of it."""
    server = servers.scoring()
    target = replace(scores.rest_target("flood", OURS, server, clients, folder), refusals=True)
    closed_loop.saturate(target, server.child.pid, 1.0, scores.REST_CLIENTS)
    before = server.child.resident
    with Probes(server.child) as probes:
        flooded = closed_loop.saturate(target, server.child.pid, seconds, FLOOD_CLIENTS)
    grown = server.child.resident - before
    alive = server.child.alive
    return {"rps": flooded.rps, "alive": alive, "busy": flooded.busy} | probed(probes, grown)


def report(capacity: float, alone: OpenLoop, over: OpenLoop) -> dict[str, Any]:
    """Return what an overload did.

    Args:
        capacity: Requests a second that can be answered.
        alone: Requests without a queue.
        over: Requests of the overload.

    >>> at = np.arange(4) / 2.0
    >>> one = OpenLoop(at, at * 0, at * 0 + 10.0, np.array([200, 200, 200, 200]))
    >>> two = OpenLoop(at, at * 0, np.array([15.0, 1, 15, 1]), np.array([200, 503, 200, 503]))
    >>> found = report(1.0, one, two)
    >>> found["accepted_p99_ratio"], found["refused_ms"], found["accepted_of_capacity"]
    (1.5, 1.0, 1.0)
    """
    unloaded = alone.percentile(99, OK, ACCEPTED)
    accepted = over.percentile(99, OK, ACCEPTED)
    return {
        "capacity": capacity,
        "unloaded_p99_ms": unloaded,
        "accepted_p99_ms": accepted,
        "accepted_p99_ratio": round(accepted / unloaded, 3),
        **_outcome(capacity, over),
    }


def _outcome(capacity: float, over: OpenLoop) -> dict[str, Any]:
    count = len(over.due)
    seconds = count * float(np.median(np.diff(over.due)))
    answered = {
        status: int((over.status == status).sum()) for status in (OK, ACCEPTED, UNAVAILABLE)
    }
    return {
        "refused_ms": over.percentile(99, UNAVAILABLE),
        "accepted_of_capacity": round(answered[OK] / seconds / capacity, 3),
        "offered_of_capacity": round(count / seconds / capacity, 3),
        "provisional": answered[ACCEPTED],
        "refused": answered[UNAVAILABLE],
        "other": count - sum(answered.values()),
        "slip_p99_ms": round(float(np.percentile(over.slip_ms, 99)), 3),
    }


def probed(probes: Probes, grown: int) -> dict[str, Any]:
    """Return what the probes answered, and by how many bytes the process has grown."""
    return {
        "probes_slowest_ms": probes.slowest_ms, "probes": len(probes.took_ms),
        "unready": probes.unready, "grown_mb": round(grown / 1e6, 1),
    }  # fmt: skip
