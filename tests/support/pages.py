"""Runs the commands of a page of the documentation as a user types them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.settings import Http

DOCS = Path(__file__).parents[2] / "docs"
BIN = Path(sys.executable).parent
DEFAULT_PORT = str(Http().port)
"""Of the endpoint of metrics."""

_PREFIX = "STREAM_SCORER_"


@dataclass(frozen=True, slots=True)
class PageRun:
    """What came of the commands.

    Attributes:
        code: The shell's exit code.
        output: What they printed, on both outputs.
        seconds: How long they took.
        folder: The folder in which they ran.
    """

    code: int
    output: str
    seconds: float
    folder: Path


def commands_of(page: str, section: str) -> list[str]:
    """Return the blocks of commands in a section of a page, in order."""
    text = (DOCS / page).read_text()
    found = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {section!r}"
    return re.findall(r"^```sh\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL)


def run_commands(blocks: Sequence[str], folder: Path, most_seconds: float) -> PageRun:
    """Run blocks of commands in one shell, in a new folder.

    A free port takes the place of the default one for metrics, in commands and in settings: another
    process may have that one, and would answer for the page's scorer. The first command that fails
    ends all. Afterwards Kafka is stopped, whether they did that or not.

    Args:
        blocks: The commands.
        folder: An empty folder for it all.
        most_seconds: After these, the shell and its processes are killed.

    Raises:
        subprocess.TimeoutExpired: They took longer.
    """
    told = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    commands, port = "".join(blocks), str(free_ports(1)[0])
    assert DEFAULT_PORT in commands
    commands = commands.replace(DEFAULT_PORT, port)
    told[f"{_PREFIX}HTTP__PORT"] = port
    told["PATH"] = f"{BIN}{os.pathsep}{told['PATH']}"
    inside, log = folder / "reader", folder / "output"
    inside.mkdir()
    begun = time.monotonic()
    with log.open("w") as output:
        shell = subprocess.Popen(  # noqa: S603 the commands of the page
            ["/bin/bash", "-euo", "pipefail", "-c", commands],
            cwd=inside, env=told, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = shell.wait(most_seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            subprocess.run(  # noqa: S603 our own command
                [BIN / "stream-scorer", "kafka", "stop"], cwd=inside, check=True
            )
    return PageRun(code, log.read_text(), time.monotonic() - begun, inside)


def counts_of(name: str, output: str) -> list[int]:
    """Return the numbers with a given name in the tables that commands printed."""
    found = re.findall(rf"^\W*{name}\W+([\d,]+)\W*$", output, re.MULTILINE)
    return [int(each.replace(",", "")) for each in found]
