"""The process of ``stream-scorer edge run``."""

import sys
from collections.abc import Callable

from stream_scorer.edge.run.lines import answer_lines
from stream_scorer.edge.run.open_device import DeviceOptions, opened_device
from stream_scorer.edge.run.service import ClosedGate, DeviceService
from stream_scorer.serving.server.compose import Composition, ServedPart
from stream_scorer.serving.server.process import run_server
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener


def run_device(
    settings: Settings, options: DeviceOptions, announce: Callable[[str], None] = lambda _: None
) -> None:
    """Answer requests by HTTP on loopback or a Unix socket, until a signal ends it.

    Args:
        settings: The device's.
        options: How it is started.
        announce: Called with the address once programs can connect.

    Raises:
        StreamScorerError: What keeps the device from running; see the tree in ``errors``.
    """

    def compose(_: Settings, listener: Listener) -> Composition:
        service = DeviceService(settings, options, listener)
        part = ServedPart(
            service.routes(), (service,), reasons=service.reasons, degraded=service.degraded
        )
        return Composition(ClosedGate(), [part])

    run_server(_serving(settings), compose, announce)


def run_lines(settings: Settings, options: DeviceOptions) -> None:
    """Answer the lines of standard input on standard output, until the input ends.

    Args:
        settings: The device's.
        options: How it is started.

    Raises:
        StreamScorerError: What keeps the device from running; see the tree in ``errors``.
    """
    with opened_device(settings, options) as device:
        answer_lines(device, sys.stdin.buffer, sys.stdout.buffer)


def _serving(settings: Settings) -> Settings:
    """Return the settings of the server: only on this machine, and without access control.

    The server's own check of ``mode = "production"`` is about processes of a cluster. What a device
    needs was checked when it was opened.
    """
    host, _, port = settings.edge.listen.rpartition(":")
    serving = settings.serving.model_copy(
        update={
            "host": host.strip("[]"), "port": int(port), "unix_socket": settings.edge.unix_socket,
            "grpc_port": None, "tls_certificate": None, "tls_key": None, "client_ca": None,
            "http2": False,
        }
    )  # fmt: skip
    return settings.model_copy(update={"serving": serving, "mode": "development"})
