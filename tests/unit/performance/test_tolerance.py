"""The tolerance of the early warning comes from ``retrain.toml``, and from nothing else."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.performance.measures.contract import MaturedRows
from stream_scorer.performance.measures.measure import Measuring
from stream_scorer.performance.process.names import Names
from stream_scorer.performance.process.process import fold_options
from stream_scorer.performance.process.windows import MaturedWindows
from stream_scorer.performance.warning.contract import Warned
from stream_scorer.performance.warning.watch import WarningBudget
from stream_scorer.retraining.rules.rules_file import rules_of
from stream_scorer.settings import Performance, load_settings

RULES = "cost_of_retraining = 400.0\nhorizon_days = 50\n"
TABLE = {"cost_of_retraining": 400.0, "horizon_days": 50}
ROWS = 400


def rows(missed: int) -> MaturedRows:
    """Return a day of 300 decisions of one version and 100 of another, with missed frauds."""
    zero, one = np.zeros(ROWS), np.ones(ROWS)
    version = (np.arange(ROWS) >= 300).astype(np.int32)
    fraud = np.isin(np.arange(ROWS), np.arange(missed)).astype(np.uint8)
    return MaturedRows(
        version, zero.astype(np.uint8), one.astype(np.uint64), zero, 100 * one, one,
        zero.astype(np.uint8), fraud, np.arange(ROWS).astype(np.uint64), zero.astype(np.int32),
        zero > 1, zero, zero.astype(np.int64),
    )  # fmt: skip


def warned(rules: dict[str, float] | None, sampled: int = 1) -> Warned:
    """Return the first warning of a city in which frauds are missed from day 28 on."""
    names = Names()
    names.versions[:] = [("fraud", "1"), ("fraud", "2")]
    names.arms[:] = ["champion"]

    def made() -> MaturedWindows:
        read = None if rules is None else rules_of(rules)
        return MaturedWindows(names, Measuring(), WarningBudget(most=200.0), read)

    windows = made()
    for day in range(60):
        missed = 1 + day % 2 if day < 28 else 60
        closed = windows.close(day, rows(missed), partial(rows, missed), {}, sampled)
        if closed.warned:
            return closed.warned[0][0]
        document = json.loads(json.dumps(windows.document()))
        windows = made()
        windows.restore(document)
    raise AssertionError("no warning")


def test_the_cost_of_retraining_is_spread_over_all_decisions() -> None:
    # 400 in 50 days are 8 a day: 0.02 for each of 400 decisions, of which one costs up to 200.
    assert warned(TABLE).tolerance == pytest.approx(0.02 / 200)
    # Half of the customers were counted: 800 decisions.
    assert warned(TABLE, sampled=2).tolerance == pytest.approx(0.01 / 200)
    assert warned({**TABLE, "cost_of_retraining": 0.0}).tolerance == 0


def test_without_rules_it_is_a_share_of_the_usual_loss() -> None:
    # 1 or 2 of 300 decisions miss 100, of 200.
    assert warned(None).tolerance == pytest.approx(0.05 * 1.5 * 100 / 300 / 200)


def test_the_horizon_is_that_of_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "retrain.toml"
    path.write_text(RULES)
    options = fold_options(Performance(retrain_rules=path))
    assert options.rules == rules_of(TABLE)
    assert (options.budget.horizon_days, options.budget.tolerance) == (50, 0.0)
    assert fold_options(Performance(horizon_days=30)).budget.horizon_days == 30
    assert fold_options(Performance(retrain_rules=path, horizon_days=50)).budget.horizon_days == 50
    with pytest.raises(SettingsError, match=r"horizon_days is 100, and horizon_days of .* is 50"):
        fold_options(Performance(retrain_rules=path, horizon_days=100))


def test_two_tolerances_are_refused(tmp_path: Path) -> None:
    table = {"performance": {"retrain_rules": str(tmp_path / "r.toml"), "tolerance": 0.01}}
    with pytest.raises(SettingsError, match="tolerance and retrain_rules both give the tolerance"):
        load_settings(table)
