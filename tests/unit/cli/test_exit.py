"""A process whose librdkafka clients are still open ends with the exit code of its command."""

import subprocess
import sys

import pytest

_PROGRAM = """
import atexit, sys
from stream_scorer import cli
from stream_scorer.kafka.client.library import CONSUMER, LibraryClient

# Registered before the command begins, so the interpreter calls it last.
atexit.register(print, "ended by the interpreter")
options = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}
clients = [LibraryClient(CONSUMER, options) for _ in range(int(sys.argv.pop()))]
cli.main()
"""


def run(clients: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 this interpreter
        [sys.executable, "-c", _PROGRAM, *arguments, str(clients)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (0, ("schemas", "list", "--json"), '"transactions-value"'),
        (2, ("schemas", "nothing"), "No such command"),
        (3, ("models", "verify", "none:1.0.0"), "none:1.0.0"),
    ],
)
def test_an_open_client_leaves_output_and_exit_code_alone(
    code: int, arguments: tuple[str, ...], said: str
) -> None:
    closed, left = run(0, *arguments), run(1, *arguments)
    assert (closed.returncode, left.returncode) == (code, code)
    assert closed.stdout == left.stdout + "ended by the interpreter\n"
    assert closed.stderr == left.stderr
    assert said in left.stdout + left.stderr
