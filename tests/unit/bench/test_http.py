"""HTTP and gRPC: latency counts from the schedule, generators' reports are read, gates judge."""

import base64
import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.http_steps import closed_loop, overload, verdict
from bench.http_steps.closed_loop import Target
from bench.http_steps.open_loop import OpenLoop, read_results
from bench.http_steps.run import PARTS
from bench.http_steps.scores import CASES

ROOT = Path(__file__).parents[3]
SAID = """
finished in 2.00s, 9876.50 req/s, 1.23MB/s
requests: 100 total, 100 started, 100 done, {good} succeeded, 0 failed, 0 errored, 0 timeout
status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 5.10MB (5346000) total, 3.00MB (3100000) headers (space savings 0.00%), 1KB ({data}) data
"""


def vegeta_row(number: int, sent_ms: float, took_ms: float, status: int = 200) -> str:
    body = base64.b64encode(f"answer {number}".encode()).decode()
    return (
        f"{int(sent_ms * 1e6)},{status},{int(took_ms * 1e6)},9,9,,{body},,{number},POST,http://a,"
    )


def test_a_late_request_has_its_delay_in_its_latency() -> None:
    # 10 a second, one connection; the first answer takes 250 ms, so three are sent late.
    sent = np.array([0.0, 0.25, 0.251, 0.3])
    found = OpenLoop.of(sent, np.array([250.0, 1.0, 1.0, 1.0]), np.full(4, 200), 10)
    assert found.latency_ms.round(3).tolist() == [250.0, 151.0, 52.0, 1.0]
    assert found.slip_ms.round(3).tolist() == [0.0, 150.0, 51.0, 0.0]


def test_results_of_vegeta_are_read_in_the_order_of_the_schedule() -> None:
    rows = [vegeta_row(1, 1_130.0, 5.0, 503), vegeta_row(0, 1_000.0, 5.0)]
    found = read_results(rows, 10, bodies=True)
    assert found.latency_ms.round(3).tolist() == [5.0, 35.0]
    assert found.status.tolist() == [200, 503]
    assert found.bodies == (b"answer 0", b"answer 1")
    assert found.percentile(99, 503) == 35.0
    assert np.isnan(found.percentile(99, 404))
    later = found.after(0.05)
    assert (later.status.tolist(), later.bodies) == ([503], (b"answer 1",))


def test_a_log_of_h2load_is_read_in_the_order_of_sending() -> None:
    found = closed_loop.read_log(["1350000\t200\t500", "1000000\t200\t500"], 10)
    assert found.latency_ms.round(3).tolist() == [0.5, 250.5]


def target(**changed: Any) -> Target:
    given: dict[str, Any] = {
        "url": "http://a", "headers": (), "body": Path("body"), "answer_bytes": 30, **changed,
    }  # fmt: skip
    return Target(**given)


def test_the_rate_of_h2load_is_read() -> None:
    assert closed_loop.rate_of(SAID.format(good=100, data=3_000), target()) == 9_876.5
    late = SAID.format(good=100, data=3_059)
    assert closed_loop.rate_of(late, target(), in_flight=2) == 9_876.5
    refused = SAID.format(good=40, data=100)
    assert closed_loop.rate_of(refused, target(refusals=True)) == 9_876.5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (SAID.format(good=99, data=3_000), "99 of 100"),
        (SAID.format(good=100, data=2_000), "20.0 bytes an answer, not 30"),
        (SAID.format(good=100, data=3_100), "31.0 bytes an answer, not 30"),
        ("connection refused", "connection refused"),
    ],
)
def test_a_load_that_was_not_answered_is_no_measurement(said: str, reason: str) -> None:
    with pytest.raises(SystemExit, match=reason):
        closed_loop.rate_of(said, target())


def load(**changed: Any) -> dict[str, Any]:
    return {
        "capacity": 200.0, "unloaded_p99_ms": 6.0, "accepted_p99_ms": 11.0,
        "accepted_p99_ratio": 1.83, "refused_ms": 5.0, "accepted_of_capacity": 0.95, "other": 0,
        "probes_slowest_ms": 12.0, "unready": 0, "grown_mb": 3.0, **changed,
    }  # fmt: skip


def good() -> dict[str, Any]:
    """Return a report that meets every gate."""
    rates = {
        "echo": 1_000.0, "ours_rest": 750.0, "grpc_echo": 400.0, "ours_grpc": 300.0,
        "mlserver": 120.0, "mlserver_grpc": 90.0, "fastapi": 200.0,
    }  # fmt: skip
    scores = {
        key: {
            "rps": rps, "p50_ms": 300.0 / rps, "p99_ms": 1.0, "busy_p50_ms": 300.0 / rps,
            "busy": 0.98, "slip_p99_ms": 0.2,
        }
        for key, rps in rates.items()
    }  # fmt: skip
    row = {
        "rate": 200, "p50_ms": 12.0, "p99_ms": 20.0, "stream_p50_ms": 10.0, "stream_p99_ms": 15.0,
        "slip_p99_ms": 0.1, "not_200": 0,
    }  # fmt: skip
    second = load(far={"other": 0}, flood=load(alive=True))
    overloads = {"v1": load(), "v2": second}
    return {**scores, "late_share": {"vegeta": 0.05}, "v1": [row], "overload": overloads}


def test_a_good_report_misses_nothing() -> None:
    assert verdict.failures(good(), PARTS) == []


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("ours_rest", "rps"), 690.0, "ours_rest 690.0 / echo 1000.0 = 0.69"),
        (("mlserver", "rps"), 151.0, "mlserver 151.0 = 4.967"),
        (("fastapi", "rps"), 251.0, "fastapi 251.0 = 2.988"),
        (("ours_rest", "p50_ms"), 0.51, "p50_ms: ours_rest 0.51"),
        (("ours_rest", "busy_p50_ms"), 0.51, "busy_p50_ms: ours_rest 0.51"),
        (("ours_grpc", "rps"), 279.0, "grpc_echo 400.0 = 0.698"),
        (("mlserver_grpc", "rps"), 101.0, "mlserver_grpc 101.0 = 2.97"),
        (("echo", "busy"), 0.9, "echo: the server used 0.9"),
        (("fastapi", "slip_p99_ms"), 5.1, "fastapi: the generator was 5.1 ms late"),
        (("late_share", "vegeta"), 0.02, "vegeta shows 0.4"),
        (("v1", 0, "p50_ms"), 13.1, "p50: answer 13.1 ms / age 10.0 ms = 1.31"),
        (("v1", 0, "p99_ms"), 22.6, "p99: answer 22.6 ms"),
        (("v1", 0, "not_200"), 1, "1 requests without a 200"),
        (("overload", "v1", "refused_ms"), 20.1, "overload of /v1: refused p99 20.1"),
        (("overload", "v1", "accepted_p99_ratio"), 2.01, "= 2.01"),
        (("overload", "v2", "accepted_of_capacity"), 0.89, "overload of /v2: accepted 0.89"),
        (("overload", "v2", "probes_slowest_ms"), 51.0, "the slowest probe took 51.0"),
        (("overload", "v1", "unready"), 1, "1 probes reported unready"),
        (("overload", "v2", "far", "other"), 1, "3 times the capacity"),
        (("overload", "v2", "flood", "alive"), False, "survives: False"),
        (("overload", "v2", "flood", "grown_mb"), 300.0, "grew by 300.0 MB"),
    ],
)
def test_each_gate_can_fail(place: tuple[Any, ...], value: Any, reason: str) -> None:
    document = copy.deepcopy(good())
    *folders, last = place
    inner: Any = document
    for name in folders:
        inner = inner[name]
    inner[last] = value
    (line,) = verdict.failures(document, PARTS)
    assert reason in line


def test_a_part_alone_is_judged_without_the_others() -> None:
    document = {"v1": good()["v1"]}
    assert verdict.failures(document, ("v1",)) == []
    alone = {key: row for key, row in good().items() if key in {"echo", "ours_rest"}}
    assert verdict.failures(alone, ("v2",)) == []
    assert verdict.ratios(alone) == {"ours_rest_to_echo_rps": 0.75}
    assert {case.part for case in CASES} < set(PARTS)


def test_an_overload_counts_answers_by_their_status() -> None:
    at = np.arange(10) / 10
    status = np.array([200, 503] * 4 + [202, 500])
    over = OpenLoop(at, np.zeros(10), np.where(status == 503, 2.0, 9.0), status)
    alone = OpenLoop(at, np.zeros(10), np.full(10, 6.0), np.full(10, 200))
    found = overload.report(5.0, alone, over)
    assert found["accepted_p99_ratio"] == 1.5
    assert found["refused_ms"] == 2.0
    assert found["accepted_of_capacity"] == pytest.approx(0.8, abs=0.01)
    assert (found["provisional"], found["refused"], found["other"]) == (1, 4, 1)


def test_scripts_of_the_folder_import_the_real_http() -> None:
    # A script's folder comes first in sys.path, and this bench has the package's name.
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'bench')!r}); "
        "import http.client, urllib.request; print(http.__file__, http.HTTPStatus.OK.value)"
    )
    said = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.split()[0].endswith("http/__init__.py")
    assert said.split()[1] == "200"
