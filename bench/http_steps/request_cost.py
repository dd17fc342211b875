"""What a request costs in Python: from the head that Granian has read to the answer that it gets.

``python -m bench.http_steps.request_cost`` prints microseconds per request, the fastest of several
rounds, of the application with its gate, an API key, limits and metrics: of an echo, which answers
with the body, and of ``/v2`` with one row for ``fraud:1.1.1``. There is no server, no socket and no
other thread, so the difference of the two is what parsing, scoring and encoding cost.

Nothing is judged here. Granian's work comes on top of both, so no bound follows for these two
figures. ``bench/http.py`` judges what clients get: ``/v2`` at 0.7 times the echo or more.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry

from bench.harness.script import Number, Script, table
from bench.http_steps.echo import echo
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.render import Renderer
from stream_scorer.serving.access.opening import ListenAddress, OpenedGate
from stream_scorer.serving.inference.loading import load_served
from stream_scorer.serving.inference.rest_routes import CONTENT_TYPES, routes
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.open_requests import OpenRequests
from stream_scorer.serving.settings.inference import Inference
from stream_scorer.serving.web.messages import Route
from stream_scorer.settings import Settings
from stream_scorer.telemetry import ACCESS_EVENTS, EVENTS, Listener
from tests.support.serving.access import access_settings, make_key
from tests.support.serving.inference_calls import features_input

PATH: Final = "/v2/models/fraud/infer"
CALLS: Final = 2_000


class _Fields:
    """Header fields, as Granian has read them."""

    def __init__(self, sent: Sequence[tuple[str, str]]) -> None:
        self._sent = list(sent)
        self._values = dict(sent)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> Sequence[tuple[str, str]]:
        return self._sent

    def get(self, name: str, default: None = None) -> str | None:
        return self._values.get(name, default)


class _Exchange:
    """A request's head and body, and its answer."""

    method = "POST"
    path = PATH
    query_string = ""
    client = "127.0.0.1:50312"
    scheme = "http"
    authority = None
    http_version = "1.1"

    def __init__(self, sent: Sequence[tuple[str, str]], body: bytes) -> None:
        self.headers = _Fields(sent)
        self._body = body
        self.status = 0
        self.answer = b""

    def __call__(self) -> Awaitable[bytes]:
        return self._read()

    async def _read(self) -> bytes:
        return self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        del headers
        self.status, self.answer = status, body


async def fastest(application: Application, exchange: Any, rounds: int) -> float:
    """Return microseconds per request."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(CALLS):
            # In a task of its own, as a server does it.
            await asyncio.create_task(application.__rsgi__(exchange, exchange))
        found.append((time.perf_counter() - begin) / CALLS)
    return round(min(found) * 1e6, 2)


async def costs(settings: Settings, key: str, listener: Listener, rounds: int) -> dict[str, float]:
    """Return microseconds per request of the echo and of ``/v2``."""
    (model,) = load_served(settings, ("fraud:1.1.1",))
    row = np.random.default_rng(1).random((1, len(model.features.names))) * 100
    body = json.dumps({"inputs": [features_input(row)]}).encode()
    sent = (
        ("host", "127.0.0.1:8080"), ("authorization", f"Bearer {key}"),
        ("content-type", "application/json"), ("content-length", str(len(body))),
    )  # fmt: skip
    service = InferenceService([model], Inference(), listener)
    echoed = Route("POST", "/v2/models/{name}/infer", "score", echo, 4_194_304,
                   content_types=CONTENT_TYPES)  # fmt: skip
    found = {}
    with OpenedGate(settings, (ListenAddress("127.0.0.1"),), listener) as opened:
        async with service:
            for name, own in (("echo", [echoed]), ("/v2", routes(service))):
                application = Application(
                    own, opened.gate, OpenRequests(1_024, 2**26), listener, body_seconds=10.0
                )
                exchange = _Exchange(sent, body)
                found[name] = await fastest(application, exchange, rounds)
                assert exchange.status == 200, exchange.answer  # noqa: S101 else nothing is measured
    return found


def main() -> int:
    """Measure and print."""
    script = Script(__doc__, "fewer rounds", rounds=Number(40, 10, "rounds of 2,000 requests"))
    renderer = Renderer(
        CollectorRegistry(), process_logger("server", "0"), kinds=(*EVENTS, *ACCESS_EVENTS)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = make_key(folder, scopes=["score"], rate_per_second=1e6, burst=1_000_000)
        settings = access_settings(folder, {"clients_file": str(folder / "clients.json")})
        found = asyncio.run(costs(settings, key, renderer, script.options.rounds))
    share = round(found["echo"] / found["/v2"], 3)
    return script.conclude(
        {"microseconds": found, "share": share}, [],
        table("One request", "request", "µs", rows=found.items()),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
