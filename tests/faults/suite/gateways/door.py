"""A way to a gateway that loses answers: it breaks a connection once its request was answered."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_HOST = "127.0.0.1"
_BYTES = 65_536
_SECONDS = 60.0
_LISTENING = 64
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: the other end gets a reset instead of an end."""


class AnswerDoor:
    """Forwards connections to a gateway on the loopback, on separate threads.

    Args:
        port: The gateway's.

    Attributes:
        port: Its own.
        lost: Number of answers that it has lost.
    """

    def __init__(self, port: int) -> None:
        self._gateway = port
        self._lock = threading.Lock()
        self._to_lose = 0
        self.lost = 0
        self._server = socket.create_server((_HOST, 0), backlog=_LISTENING)
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="answer-door", daemon=True)

    def lose(self, answers: int) -> None:
        """Lose the next answers: each connection is reset when its answer comes."""
        with self._lock:
            self._to_lose += answers

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake a thread that accepts.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            gateway = socket.create_connection((_HOST, self._gateway), _SECONDS)
        except OSError:
            _abort(client)
            return
        # A connection may be idle for long, and ends with the gateway's process or the client's.
        gateway.settimeout(None)
        there = threading.Thread(target=_pump, args=(client, gateway), daemon=True)
        there.start()
        with suppress(OSError):
            while part := gateway.recv(_BYTES):
                if self._loses():
                    _abort(client)
                    break
                client.sendall(part)
        _abort(gateway)
        _abort(client)
        there.join()

    def _loses(self) -> bool:
        with self._lock:
            if not self._to_lose:
                return False
            self._to_lose -= 1
            self.lost += 1
            return True


def _pump(client: socket.socket, gateway: socket.socket) -> None:
    with suppress(OSError):
        while part := client.recv(_BYTES):
            gateway.sendall(part)
    _abort(gateway)


def _abort(opened: socket.socket) -> None:
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()
