"""Under a label policy, a file job says that it does not know which transactions were blocked."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from stream_scorer.batch.run import run_batch
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Settings
from tests.support.batch.batch_cases import write
from tests.support.batch.terminal_cases import order_of, settings, table

__all__ = ["settings", "table"]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text('[currencies]\nEUR = 2\n[label_policy]\nunlabelled = "genuine"\n')
    return path


def test_the_report_says_that_no_outcome_is_known(
    table: pa.Table, settings: Settings, plan: Path, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    report = run_batch(settings, order_of(source, tmp_path / "out.parquet", source, plan=plan))
    assert report.labels is not None
    assert report.labels["outcome_column"] == 0
    without = run_batch(settings, order_of(source, tmp_path / "other.parquet", source))
    assert without.labels is not None
    assert "outcome_column" not in without.labels
    assert json.dumps(report.outcomes) == json.dumps(without.outcomes)


def test_a_column_without_effect_is_refused(
    table: pa.Table, settings: Settings, plan: Path, tmp_path: Path
) -> None:
    blocked = table.append_column("outcome", pa.array(["BLOCK"] * table.num_rows))
    source = write(blocked, tmp_path / "in.parquet")
    with pytest.raises(SettingsError, match="column 'outcome' is not read by file jobs"):
        run_batch(settings, order_of(source, tmp_path / "out.parquet", source, plan=plan))
