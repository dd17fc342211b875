"""A server of the example part; run as a program by :func:`running_server`.

``SETTINGS START FAIL``: a JSON document of settings; how many seconds its part takes to start; and
after how many seconds it fails, if not 0. The addresses go to standard output, a line each, and so
does ``held`` for each request for ``/hold``, which is in flight from then on.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stream_scorer.errors import StreamScorerError, UnavailableError
from stream_scorer.serving.server.compose import Composition, ServedPart
from stream_scorer.serving.server.process import run_server
from stream_scorer.serving.web.gate import RequestHead
from stream_scorer.serving.web.messages import Caller
from stream_scorer.settings import Settings, load_settings
from stream_scorer.telemetry import Listener
from stream_scorer.terminal_text import write_error
from tests.support.serving.example_part import ExampleGate, echo_service, example_routes


class AnnouncingGate(ExampleGate):
    """Announces requests for ``/hold``."""

    def admit(self, head: RequestHead) -> Caller:
        caller = super().admit(head)
        if head.path.startswith("/hold/"):
            announce("held")
        return caller


@asynccontextmanager
async def starting(seconds: float) -> AsyncIterator[None]:
    await asyncio.sleep(seconds)
    yield
    announce("ended")


def composed(settings: Settings, listener: Listener) -> Composition:
    del settings, listener
    start, fail = map(float, sys.argv[2:])
    begin = time.monotonic()

    def reasons() -> tuple[str, ...]:
        if fail and time.monotonic() - begin > fail:
            raise UnavailableError("the part has failed")
        return ()

    part = ServedPart(example_routes(), (starting(start),), (echo_service,), reasons)
    return Composition(AnnouncingGate(), [part])


def announce(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        run_server(load_settings(json.loads(sys.argv[1])), composed, announce)
    except StreamScorerError as error:
        write_error(str(error))
        sys.exit(error.exit_code)
