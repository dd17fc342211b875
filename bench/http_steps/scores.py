"""Scores of one row: requests a second and latency of each contender, in interleaved rounds."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np

from bench.harness.script import say
from bench.http_steps import closed_loop, open_loop, peers
from bench.http_steps.closed_loop import Target
from bench.http_steps.contenders import (
    ECHO,
    FASTAPI,
    MLSERVER,
    OURS,
    Clients,
    MeasuredServer,
    Servers,
    post,
    read_score,
)
from bench.http_steps.echo import STALL_EVERY_SECONDS, STALL_SECONDS
from bench.http_steps.open_loop import OpenLoop
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
LATENCY_RATE: Final = 100
"""Requests a second at which latency is measured: each contender can answer far more. A core sleeps
between two requests, so most of a fast answer's time is what the cores take to wake up."""
BUSY_RATE: Final = 600
"""The same by REST for a server that works: half of what MLServer can answer."""
REST_CLIENTS: Final = 16
GRPC_CLIENTS, GRPC_EACH = 4, 4
_WARM_UP_SECONDS: Final = 0.5
_CHECK_SECONDS: Final = 4.0
_FRAME: Final = b"\0"
_SAME_SCORE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class ScoreCase:
    """One contender by one protocol.

    Attributes:
        key: In the report.
        server: Name of the server.
        part: Part of the bench.
        by_grpc: Whether by gRPC.
    """

    key: str
    server: str
    part: str
    by_grpc: bool = False


CASES: Final = (
    ScoreCase("echo", ECHO, "v2"),
    ScoreCase("ours_rest", OURS, "v2"),
    ScoreCase("grpc_echo", ECHO, "grpc", by_grpc=True),
    ScoreCase("ours_grpc", OURS, "grpc", by_grpc=True),
    ScoreCase("mlserver", MLSERVER, "peers"),
    ScoreCase("mlserver_grpc", MLSERVER, "peers", by_grpc=True),
    ScoreCase("fastapi", FASTAPI, "peers"),
)


@dataclass(slots=True)
class _Rounds:
    """What the rounds of one contender measured."""

    rps: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    busy_p50: list[float] = field(default_factory=list)
    busy_p99: list[float] = field(default_factory=list)
    slip: list[float] = field(default_factory=list)

    def note(self, timed: OpenLoop) -> None:
        """Add a load at ``LATENCY_RATE``."""
        self.p50.append(timed.percentile(50))
        self.p99.append(timed.percentile(99))
        self.slip.append(round(float(np.percentile(timed.slip_ms, 99)), 3))

    def note_busy(self, timed: OpenLoop) -> None:
        """Add a load at ``BUSY_RATE``."""
        self.busy_p50.append(timed.percentile(50))
        self.busy_p99.append(timed.percentile(99))

    def report(self) -> dict[str, Any]:
        """Return medians, None where nothing was measured, and the rates of all rounds."""
        medians = {
            "rps": self.rps, "p50_ms": self.p50, "p99_ms": self.p99, "busy": self.busy,
            "busy_p50_ms": self.busy_p50, "busy_p99_ms": self.busy_p99, "slip_p99_ms": self.slip,
        }  # fmt: skip
        return {
            name: round(float(np.median(found)), 3) if found else None
            for name, found in medians.items()
        } | {"rounds": self.rps}


def measure(
    parts: Sequence[str], rounds: int, seconds: float, folder: Path
) -> dict[str, dict[str, Any]]:
    """Measure the contenders of some parts; return their reports by key.

    Args:
        parts: Of the parts of :data:`CASES`.
        rounds: Of each contender.
        seconds: Of each load.
        folder: For files.
    """
    cases = [case for case in CASES if case.part in parts]
    clients = Clients.made(folder)
    servers = Servers(folder, clients)
    found: dict[str, _Rounds] = defaultdict(_Rounds)
    try:
        started = _started(servers, {case.server for case in cases}, folder)
        targets = {case.key: _target(case, started[case.server], clients, folder) for case in cases}
        for server in started.values():
            server.freeze()
        for number in range(rounds):
            for case in cases if number % 2 == 0 else cases[::-1]:
                say(f"round {number + 1}: {case.key}")
                server = started[case.server]
                server.thaw()
                _measure_once(case, targets[case.key], server, seconds, folder, found[case.key])
                server.freeze()
        for server in started.values():
            server.thaw()
    finally:
        servers.close()
    return {key: each.report() for key, each in found.items()}


def _started(servers: Servers, names: set[str], folder: Path) -> dict[str, MeasuredServer]:
    starts: Mapping[str, Callable[[], MeasuredServer]] = {
        ECHO: servers.echo,
        OURS: servers.scoring,
        MLSERVER: lambda: peers.mlserver(servers, folder),
        FASTAPI: lambda: peers.fastapi(servers, folder),
    }
    return {name: starts[name]() for name in starts if name in names}


def _measure_once(
    case: ScoreCase,
    target: Target,
    server: MeasuredServer,
    seconds: float,
    folder: Path,
    found: _Rounds,
) -> None:
    clients, each = (GRPC_CLIENTS, GRPC_EACH) if case.by_grpc else (REST_CLIENTS, 1)
    closed = closed_loop.saturate(target, server.child.pid, seconds, clients, each)
    found.rps.append(round(closed.rps, 1))
    found.busy.append(closed.busy)
    whole = seconds + _WARM_UP_SECONDS
    if case.by_grpc:
        # h2load keeps no schedule above this rate.
        timed = closed_loop.paced(target, LATENCY_RATE, whole, folder / "paced.log")
        found.note(_answered(case, timed))
        return
    line = [line_of(target)]
    found.note(_answered(case, open_loop.attack(line, LATENCY_RATE, whole, folder)))
    found.note_busy(_answered(case, open_loop.attack(line, BUSY_RATE, whole, folder)))


def _answered(case: ScoreCase, timed: OpenLoop) -> OpenLoop:
    """Return a load without its beginning.

    Raises:
        SystemExit: Not every request was answered.
    """
    kept = timed.after(_WARM_UP_SECONDS)
    if (kept.status != 200).any():
        raise SystemExit(f"{case.key}: {int((kept.status != 200).sum())} requests failed")
    return kept


def line_of(target: Target) -> str:
    """Return what is asked as a line for vegeta."""
    headers = dict(each.split(": ", 1) for each in target.headers)
    return open_loop.target_line(target.url, target.body.read_bytes(), headers)


def _target(case: ScoreCase, server: MeasuredServer, clients: Clients, folder: Path) -> Target:
    make = grpc_target if case.by_grpc else rest_target
    return make(case.key, case.server, server, clients, folder)


def rest_target(
    key: str, kind: str, server: MeasuredServer, clients: Clients, folder: Path
) -> Target:
    """Return what a server is asked by REST, after one request whose answer is compared.

    Args:
        key: Name in messages and of the body's file.
        kind: Of the contender.
        server: Is asked.
        clients: Who asks.
        folder: For the body's file.

    Raises:
        SystemExit: The answer is another than expected.
    """
    body = peers.rest_body(peers.sample_row(), *peers.outputs_of(kind))
    answer = post(server.rest, body, clients.headers)
    if kind == ECHO:
        _check_echo(key, answer, body)
    else:
        _check_score(key, read_score(answer, peers.score_output(kind)))
    file = folder / f"{key}.body"
    file.write_bytes(body)
    return Target(server.rest, _lines(clients.headers), file, len(answer))


def grpc_target(
    key: str, kind: str, server: MeasuredServer, clients: Clients, folder: Path
) -> Target:
    """Return the same by gRPC; see :func:`rest_target`."""
    request = peers.grpc_message(peers.sample_row(), *peers.outputs_of(kind))
    message: bytes = request.SerializeToString()
    metadata = (("authorization", clients.headers["authorization"]),)
    with grpc.insecure_channel(server.grpc) as channel:
        # Bytes in and out: the echo's answer is not a response of the protocol.
        answer: bytes = channel.unary_unary(METHOD)(message, metadata=metadata, timeout=30.0)
    if kind == ECHO:
        _check_echo(key, answer, message)
    else:
        _check_score(key, _grpc_score(answer, peers.score_output(kind)))
    file = folder / f"{key}.body"
    file.write_bytes(_FRAME + len(message).to_bytes(4, "big") + message)
    headers = {
        "content-type": "application/grpc", "te": "trailers",
        "authorization": clients.headers["authorization"],
    }  # fmt: skip
    url = f"http://{server.grpc}{METHOD}"
    return Target(url, _lines(headers), file, len(_FRAME) + 4 + len(answer), http1=False)


def _grpc_score(answer: bytes, name: str) -> float:
    response = messages.ModelInferResponse.FromString(answer)
    for number, each in enumerate(response.outputs):
        if each.name == name and response.raw_output_contents:
            return float(np.frombuffer(response.raw_output_contents[number], "<f8")[-1])
        if each.name == name:
            return float(each.contents.fp64_contents[-1])
    raise SystemExit(f"the answer has no output {name}")


def _check_score(key: str, score: float) -> None:
    expected = peers.expected_score()
    if abs(score - expected) > _SAME_SCORE:
        raise SystemExit(f"{key}: the score is {score}, not {expected}: another model")


def _check_echo(key: str, answer: bytes, body: bytes) -> None:
    if answer != body:
        raise SystemExit(f"{key}: the answer is not the body")


def _lines(headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {value}" for name, value in headers.items())


def stalls(seconds: float, folder: Path) -> dict[str, float]:
    """Return the share of requests that a generator sees late because the server stops.

    A server stops for 100 ms each second. Of the requests on a schedule, a twentieth is due in the
    first half of a stop, and so is later than 50 ms. A generator that waits for its answers, or
    that counts from when it sent, sees nearly none.

    Args:
        seconds: Of each load; at least 2, so that the server stops twice, and at most 4.
        folder: For files.
    """
    clients = Clients.made(folder)
    servers = Servers(folder, clients)
    took = min(max(seconds, 2.0), _CHECK_SECONDS)
    try:
        server = servers.echo(stall=True)
        rest = rest_target("stalling", ECHO, server, clients, folder)
        by_grpc = grpc_target("stalling", ECHO, server, clients, folder)
        found = {
            "vegeta": open_loop.attack([line_of(rest)], LATENCY_RATE, took, folder),
            "h2load": closed_loop.paced(by_grpc, LATENCY_RATE, took, folder / "paced.log"),
        }
    finally:
        servers.close()
    late = STALL_SECONDS * 1e3 / 2
    return {name: round(float((each.latency_ms > late).mean()), 4) for name, each in found.items()}


def stalled_share() -> float:
    """Return the share of requests that a server's stops make later than half a stop."""
    return STALL_SECONDS / 2 / STALL_EVERY_SECONDS
