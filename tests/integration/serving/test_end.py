"""The end of a server: what is in flight is finished, and nothing new is begun."""

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.error import URLError

import grpc

from stream_scorer.errors import UnavailableError
from tests.support.serving.running_server import RunningServer, running_server, wait_until

HOST = b"Host: x\r\nAuthorization: Bearer shop\r\n"


def get(path: str) -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def begun(server: RunningServer, requests: int) -> None:
    """Wait until requests for ``/hold`` are in flight."""
    assert server.process.stdout is not None
    for _ in range(requests):
        assert server.process.stdout.readline() == "held\n"


def refuses(server: RunningServer) -> bool:
    """Whether clients can no longer connect."""
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def open_connections(server: RunningServer) -> int:
    with open(f"/proc/{server.process.pid}/net/tcp") as table:  # noqa: PTH123 no regular file
        local = f":{server.port:04X}"
        return sum(row.split()[1].endswith(local) and row.split()[3] == "01" for row in table)


def test_what_is_in_flight_is_finished() -> None:
    with running_server(drain_seconds=30.0) as server, ThreadPoolExecutor(16) as clients:
        idle = server.connect()
        asked = [clients.submit(server.exchange, get("/hold/20")) for _ in range(16)]
        begun(server, 16)
        server.process.send_signal(signal.SIGTERM)
        # An idle connection ends now, and there are no new ones.
        assert idle.recv(1) == b""
        idle.close()
        wait_until(lambda: refuses(server))
        assert not any(each.done() for each in asked)
        answers = [each.result() for each in asked]
        assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)
        assert all(b"connection: close" in each for each in answers)
        assert server.process.wait(60) == 0
        assert "requests_cut" not in server.written()


def test_what_takes_too_long_is_given_up() -> None:
    with running_server(drain_seconds=0.5) as server, ThreadPoolExecutor(1) as clients:
        asked = clients.submit(server.exchange, get("/hold/59"))
        begun(server, 1)
        assert server.stop() == 0
        assert asked.result().startswith(b"HTTP/1.1 503 ")
        assert '"event": "requests_cut"' in server.written()


def test_a_client_that_sends_nothing_more_holds_nothing_up() -> None:
    with running_server(drain_seconds=1.0, head_seconds=60.0, body_seconds=60.0) as server:
        typed = HOST + b"Content-Type: application/json\r\n"
        with server.connect() as head, server.connect() as body:
            head.sendall(b"GET /wait/0 HTTP/1.1\r\n")
            body.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 9\r\n" + typed + b"\r\n")
            wait_until(lambda: open_connections(server) >= 2)
            begin = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begin < 40.0


def test_a_signal_ends_it_while_a_part_starts() -> None:
    with running_server(0, start=600.0) as server:

        def probed() -> tuple[int, bytes]:
            with suppress(ConnectionRefusedError, URLError):
                return server.probe()
            return 0, b""

        wait_until(lambda: probed()[0] == 503)
        assert b"does not listen yet" in probed()[1]
        assert server.probe("/health/live")[0] == 200
        assert server.stop() == 0


def test_a_part_is_ended_after_the_last_request() -> None:
    with running_server() as server:
        assert server.stop() == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "ended\n"


def test_it_ends_when_a_part_cannot_work_again() -> None:
    with running_server(fail=0.1) as server:
        assert server.process.wait(60) == UnavailableError.exit_code
        assert "the part has failed" in server.written()


def test_a_second_signal_ends_it() -> None:
    with running_server(drain_seconds=60.0) as server, ThreadPoolExecutor(1) as clients:
        asked = clients.submit(server.exchange, get("/hold/59"))
        begun(server, 1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.probe()[0] == 503)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == -signal.SIGTERM
        assert b"HTTP" not in asked.result()


def test_under_load_every_request_is_answered_or_refused() -> None:
    """Each client sends one request after another, until the server accepts no more."""
    statuses: list[int] = []
    broken: list[bytes] = []

    def ask(server: RunningServer) -> None:
        while True:
            try:
                answer = server.exchange(
                    get("/wait/0.01").replace(HOST, HOST + b"Connection: close\r\n")
                )
            except ConnectionRefusedError:
                return
            found = re.match(rb"HTTP/1.1 (\d+) ", answer)
            if found:
                statuses.append(int(found[1]))
            elif answer:
                broken.append(answer)

    with running_server(drain_seconds=30.0) as server:
        clients = [threading.Thread(target=ask, args=(server,)) for _ in range(8)]
        for each in clients:
            each.start()
        wait_until(lambda: len(statuses) > 100)
        code = server.stop()
        for each in clients:
            each.join()
    assert code == 0
    assert broken == []
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 100


def test_calls_in_flight_are_finished() -> None:
    with (
        running_server(2, drain_seconds=30.0, grpc_port=0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        call = channel.unary_unary("/example.Echo/Wait")
        assert call(b"0", timeout=60) == b"0"
        waiting = call.future(b"1.5", timeout=60)
        # The server sends them when it begins to answer.
        waiting.initial_metadata()
        assert server.stop() == 0
        assert waiting.result() == b"1.5"
