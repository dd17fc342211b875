"""A server of the example part; run as a program by :func:`running_server`.

``SETTINGS`` is a JSON document of settings. The addresses go to standard output, a line each.
"""

import json
import sys

from stream_scorer.errors import StreamScorerError
from stream_scorer.serving.server.compose import Composition, ServedPart
from stream_scorer.serving.server.process import run_server
from stream_scorer.settings import Settings, load_settings
from stream_scorer.telemetry import Listener
from stream_scorer.terminal_text import write_error
from tests.support.serving.example_part import ExampleGate, echo_service, example_routes


def composed(settings: Settings, listener: Listener) -> Composition:
    del settings, listener
    return Composition(ExampleGate(), [ServedPart(example_routes(), servicers=(echo_service,))])


def announce(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        run_server(load_settings(json.loads(sys.argv[1])), composed, announce)
    except StreamScorerError as error:
        write_error(str(error))
        sys.exit(error.exit_code)
