"""Probes and metrics of a server, on their own port and thread."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.serving.running_server import running_server

HOST = b"Host: x\r\nAuthorization: Bearer shop\r\nConnection: close\r\n"


def test_probes_answer_while_the_event_loop_is_busy() -> None:
    with running_server() as server, ThreadPoolExecutor(1) as clients:
        assert server.probe()[0] == 200
        busy = clients.submit(server.exchange, b"GET /spin/2 HTTP/1.1\r\n" + HOST + b"\r\n")
        time.sleep(0.2)
        answers = 0
        while not busy.done():
            assert server.probe()[0] == 200
            assert server.probe("/health/live")[0] == 200
            answers += 2
        assert busy.result().startswith(b"HTTP/1.1 200 ")
        # Some 40 on a quiet machine. Of probes that wait for the loop, two are answered.
        assert answers >= 6
        assert server.stop() == 0


def test_requests_are_counted_and_not_logged() -> None:
    with running_server() as server:
        for path in (b"/wait/0", b"/nothing", b"/%1b"):
            server.exchange(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        metrics = server.probe("/metrics")[1].decode()
        requests = 'stream_scorer_requests_total{route="%s",status="%s"} %s'
        assert requests % ("GET /wait/{seconds}", 200, "1.0") in metrics
        assert requests % ("none", 404, "1.0") in metrics
        assert requests % ("none", 400, "1.0") in metrics
        assert "/nothing" not in metrics
        assert server.stop() == 0
        assert server.written() == ""


def test_the_access_log_has_a_line_for_each_request() -> None:
    with running_server(access_log=True) as server:
        path = b"/wait/0?token=s3cret\x7f"
        server.exchange(b"GET /wait/0?token=s3cret HTTP/1.1\r\n" + HOST + b"\r\n")
        server.exchange(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        server.exchange(b"GET /fail HTTP/1.1\r\nX-Request-Id: mine\r\n" + HOST + b"\r\n")
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.written().splitlines()]
    served = [line for line in lines if line["event"] == "request_served"]
    failed = [line for line in lines if line["event"] == "request_failed"]
    assert served[0]["route"] == "GET /wait/{seconds}"
    assert (served[0]["status"], served[0]["client"]) == (200, "shop")
    assert served[0].keys() >= {"request_id", "ms", "timestamp", "level", "process"}
    assert "s3cret" not in json.dumps(served)
    (failure,) = failed
    assert (failure["request_id"], failure["error"]) == ("mine", "ValueError")
    assert served[-1]["status"] == 500
