"""docs/YOUR_DATA.md: all of its commands, run as written."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "YOUR_DATA.md"
BIN = Path(sys.executable).parent
MOST_SECONDS = 600.0
_PREFIX = "STREAM_SCORER_"


def commands() -> list[str]:
    """Return the page's blocks of commands, in order."""
    section = re.search(r"^## In ten minutes$(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section
    return re.findall(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)


def counts_of(name: str, output: str) -> list[int]:
    """Return the numbers with a given name in the tables that commands printed."""
    found = re.findall(rf"^\W*{name}\W+([\d,]+)\W*$", output, re.MULTILINE)
    return [int(each.replace(",", "")) for each in found]


def test_the_page_works_as_written_in_ten_minutes(tmp_path: Path) -> None:
    blocks = commands()
    assert len(blocks) == 7
    told = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    told["PATH"] = f"{BIN}{os.pathsep}{told['PATH']}"
    folder, log = tmp_path / "reader", tmp_path / "output"
    folder.mkdir()
    begun = time.monotonic()
    with log.open("w") as output:
        shell = subprocess.Popen(  # noqa: S603 the commands of the page
            ["/bin/bash", "-euo", "pipefail", "-c", "".join(blocks)],
            cwd=folder, env=told, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = shell.wait(MOST_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            subprocess.run(  # noqa: S603 our own command
                [BIN / "stream-scorer", "kafka", "stop"], cwd=folder, check=True
            )
    seconds = time.monotonic() - begun
    output_text = log.read_text()
    assert code == 0, output_text
    assert seconds < MOST_SECONDS
    with (folder / "payments.csv").open() as lines:
        rows = sum(1 for _ in lines) - 1
    assert rows > 10_000
    assert pq.read_metadata(folder / "decisions.parquet").num_rows == rows
    assert counts_of("transactions", output_text) == [1_000, 1_000]
    assert counts_of("equal", output_text) == counts_of("chosen", output_text) == [rows]
