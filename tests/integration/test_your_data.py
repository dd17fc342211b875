"""docs/YOUR_DATA.md: all of its commands, run as written."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.pages import commands_of, counts_of, run_commands

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.timeout(900)]

MOST_SECONDS = 600.0


def test_the_page_works_as_written_in_ten_minutes(tmp_path: Path) -> None:
    blocks = commands_of("YOUR_DATA.md", "In ten minutes")
    assert len(blocks) == 7
    ran = run_commands(blocks, tmp_path, MOST_SECONDS)
    assert ran.code == 0, ran.output
    assert ran.seconds < MOST_SECONDS
    with (ran.folder / "payments.csv").open() as lines:
        rows = sum(1 for _ in lines) - 1
    assert rows > 10_000
    assert pq.read_metadata(ran.folder / "decisions.parquet").num_rows == rows
    assert counts_of("transactions", ran.output) == [1_000, 1_000]
    assert counts_of("equal", ran.output) == counts_of("chosen", ran.output) == [rows]
