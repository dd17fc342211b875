"""``models thresholds``: its policy has the reported effect; bad input is refused."""

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.cli.main import main
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch, Outcome
from stream_scorer.core.events.plan import Plan, parse_plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import ThresholdCosts
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.commands.policy_file import policy_text
from stream_scorer.models.commands.thresholds import (
    ThresholdJob,
    choose_thresholds_by,
    read_budget,
    read_cost_list,
)
from stream_scorer.settings import MODELS_DIRECTORY, Settings
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from stream_scorer.training.days import Days
from tests.support.core.deciding import score

_DAY_MS = 86_400_000
_ROWS = 50_000


def reviews_by_day(table: pa.Table, plan: Plan) -> Counter[str]:
    """Decide a file as the stream does; return the number of reviews by day."""
    model = load_bundle(MODELS_DIRECTORY / "fraud" / "1.0.0").model(plan)
    rings = PartitionRings(model.features)
    columns = [name for name in table.column_names if "fraud" not in name]
    found: Counter[str] = Counter()
    for at in range(0, len(table), _ROWS):
        records = table.select(columns).slice(at, _ROWS).combine_chunks().to_batches()[0]
        time = records.column("event_time").cast(pa.int64()).to_numpy()
        n = len(records)
        events = EventBatch(records, np.zeros(n, np.int32), np.arange(at, at + n), time)
        decided = score(events, rings, plan, model)
        rings.release(decided.journals)
        decisions = decided.decisions
        days = decisions.events.int64("event_time") // _DAY_MS
        reviewed = days[decisions.outcome == Outcome.REVIEW]
        found.update(str(np.datetime64(day, "D")) for day in reviewed.tolist())
    return found


def chosen(data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    given = {"model": "fraud:1.0.0", "data": data, "out": out / "policy.toml", **changes}
    return choose_thresholds_by(Settings(), ThresholdJob(**given))


def policy_of(out: Path) -> Plan:
    return parse_plan("", {"policy.toml": (out / "policy.toml").read_text()})


def test_the_written_policy_reviews_what_is_reported(
    data: Path, labelled: pa.Table, tmp_path: Path
) -> None:
    days = Days.parse("2018-05-01:2018-05-14")
    found = chosen(data, tmp_path, budget=12.0, days=days)
    by_day = reviews_by_day(labelled, policy_of(tmp_path))
    counted = [by_day[f"2018-05-{day:02}"] for day in range(1, 15)]
    assert found["reviews_per_day"] == sum(counted) / 14
    assert found["reviews_daily_spread"] == pytest.approx(np.std(counted, ddof=1))
    assert abs(found["reviews_per_day"] - 12) <= found["tied_per_day"]
    assert (found["days"], found["number_of_days"]) == (str(days), 14)
    later = [by_day[f"2018-05-{day:02}"] for day in range(15, 23)]
    assert found["check"]["reviews_per_day"] == sum(later) / 8
    assert found["check"]["number_of_days"] == 8
    assert found["check"]["difference"] == pytest.approx(sum(later) / 8 / 12 - 1)
    assert policy_of(tmp_path).policy["budget"] == {"reviews_per_day": 12}
    assert (tmp_path / "policy.png").read_bytes().startswith(b"\x89PNG")
    curve = [point["reviews_per_day"] for point in found["curve"]]
    assert curve == sorted(curve)
    assert len(curve) > 10
    json.dumps(found, allow_nan=False)


def test_segments_of_the_plan_stay_and_count(data: Path, tmp_path: Path) -> None:
    segment = {"when": {"amount_above": 100.0}, "review": 0.01, "block": 1.0}
    plan = tmp_path / "plan"
    plan.mkdir()
    (plan / "plan.toml").write_text("")
    (plan / "policy.toml").write_bytes(
        policy_text({"segment": [segment], "budget": {"reviews_per_day": 30}})
    )
    found = chosen(data, tmp_path, plan=plan)
    assert found["budget"] == 30
    assert abs(found["reviews_per_day"] - 30) <= found["tied_per_day"]
    assert policy_of(tmp_path).policy["segment"] == [segment]
    with pytest.raises(SettingsError, match=r"budget 0\.1/day: the policy's segments alone review"):
        chosen(data, tmp_path, plan=plan, budget=0.1, replace=True)


def test_segments_by_an_extra_field_count(data: Path, labelled: pa.Table, tmp_path: Path) -> None:
    busiest = Counter(labelled["terminal_id"].to_pylist()).most_common(1)[0][0]
    segment = {"when": {"shop": [busiest]}, "review": 1e-300, "block": 1.0}
    plan = tmp_path / "plan"
    plan.mkdir()
    (plan / "plan.toml").write_text("")
    (plan / "policy.toml").write_bytes(policy_text({"segment": [segment]}))
    names = ("transaction_id", "customer_id", "terminal_id", "currency")
    (plan / "events.toml").write_text(
        "[fields]\n"
        + "".join(f'{name} = "{name}"\n' for name in names)
        + 'event_time = {path = "event_time", zone = "UTC"}\n'
        'amount = {path = "amount_minor", unit = "minor"}\n'
        '[extra]\nshop = {path = "terminal_id", type = "string"}\n'
    )
    found = chosen(data, tmp_path, plan=plan, budget=30)
    assert abs(found["reviews_per_day"] - 30) <= found["tied_per_day"]
    with pytest.raises(SettingsError, match=r"budget 0\.1/day: the policy's segments alone review"):
        chosen(data, tmp_path, plan=plan, budget=0.1, replace=True)


def test_without_a_budget_the_decisions_cost_least(data: Path, tmp_path: Path) -> None:
    found = chosen(data, tmp_path)
    assert (found["budget"], found["likely_error"]) == (None, None)
    assert found["cost_per_day"] <= min(point["cost_per_day"] for point in found["curve"]) + 1e-6
    assert found["cost_per_day"] <= found["before"]["cost_per_day"]
    assert "budget" not in policy_of(tmp_path).policy
    # A window of 30 days is complete from the 31st day on.
    assert found["days"] == "2018-05-01:2018-05-22"
    assert found["days_with_incomplete_history"] == 0


def test_days_that_the_model_was_fitted_on_are_left_out(data: Path, tmp_path: Path) -> None:
    days = Days.parse("2018-05-01:2018-05-22")
    found = chosen(data, tmp_path, model="fraud:1.1.0", days=days, budget=5.0)
    assert found["training_days_left_out"] == "2018-05-08:2018-07-24"
    assert (found["days"], found["number_of_days"]) == ("2018-05-01:2018-05-07", 7)
    assert found["days_with_incomplete_history"] == 7
    assert found["check"] is None
    days = Days.parse("2018-05-08:2018-05-22")
    with pytest.raises(SettingsError, match=r"none of 2018-05-08:2018-05-22 is left: .* fitted on"):
        chosen(data, tmp_path, model="fraud:1.1.0", days=days, replace=True)


def test_fitted_days_do_not_count_as_complete_ones(data: Path, tmp_path: Path) -> None:
    # All 15 days with a complete history, from 2018-05-08 on, are days that it was fitted on.
    found = chosen(data, tmp_path, model="fraud:1.1.0", budget=5.0)
    assert (found["days"], found["number_of_days"]) == ("2018-04-01:2018-05-07", 37)
    assert found["days_with_incomplete_history"] == 37
    assert found["training_days_left_out"] == "2018-05-08:2018-07-24"


def test_what_cannot_be_done_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.png").write_text("mine")
    with pytest.raises(SettingsError, match=r"policy\.png: exists already"):
        chosen(data, tmp_path)
    (tmp_path / "policy.png").unlink()
    with pytest.raises(SettingsError, match=r"budget 5000/day: at most [0-9.,]+ trans"):
        chosen(data, tmp_path, budget=5_000.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["400", "400/week", "-4/day", "0/day", "1e3/day", "nan/day", ""])
def test_an_invalid_budget_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not a budget — write 400/day"):
        read_budget(text)
    assert read_budget(" 400.5 / day") == 400.5


def test_costs_are_read_and_refused_by_name() -> None:
    assert read_cost_list("") == ThresholdCosts()
    found = read_cost_list("missed=0.8*amount+20, review=4,false_block = 30")
    assert found == ThresholdCosts(missed_share=0.8, missed_fixed=20, review=4, false_block=30)
    for text, message in (
        ("reviews=4", "'reviews=4': not understood"), ("review", "'review': not understood"),
        ("review=x", "review=x: not a number"), ("review=-1", "review: Input should be"),
        ("missed=twice", "'twice': not understood"), ("review=nan", "review: Input should be"),
        ("review=5,false_block=1, review =5", "--costs: review: is given twice — write it once"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=message):
            read_cost_list(text)


def test_a_policy_file_is_read_as_it_was_written() -> None:
    policy = {
        "on_model_error": "BLOCK",
        "default": {"review": 1e-05, "block": 0.1 + 0.2},
        "segment": [
            {"when": {"mcc": ["7995", 'a"b\\c'], "amount_above": 10}, "review": 0.1, "block": 1},
            {"when": {"channel": "é"}, "review": 0.2, "block": 1.0},
        ],
        "budget": {"reviews_per_day": 400},
    }
    text = policy_text(policy, ["one", "two"]).decode()
    assert text.startswith("# one\n# two\non_model_error")
    assert parse_plan("", {"policy.toml": text}).policy == policy


def test_the_command_prints_tables_of_at_most_80_columns(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["models", "thresholds", "fraud:1.0.0", "--data", str(data), "--budget", "10/day"]
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *words, "--days", "2018-05-01:2018-05-14"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert "check: reviews poisson share" in printed.replace("_", " ")
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.thorough
def test_a_budget_holds_for_60_days_after_the_validation_days(tmp_path: Path) -> None:
    """The shipped model, its validation week and the published data: the mean is within 5 %."""
    table = simulate(days=190)
    write_table(table, tmp_path / "transactions.parquet")
    days = Days.parse("2018-08-01:2018-08-07")
    found = chosen(tmp_path / "transactions.parquet", tmp_path, budget=400.0, days=days)
    by_day = reviews_by_day(table, policy_of(tmp_path))
    first = np.datetime64("2018-08-08")
    counts = [by_day[str(first + day)] for day in range(60)]
    mean, variance = float(np.mean(counts)), float(np.var(counts, ddof=1))
    print(  # noqa: T201 the figures are the result
        f"mean {mean:.1f} reviews a day, {100 * (mean / 400 - 1):+.1f} %; daily spread "
        f"{math.sqrt(variance):.1f}, Poisson share {100 * mean / variance:.0f} %"
    )
    assert 380 <= mean <= 420
    assert found["check"]["reviews_per_day"] == mean
    assert found["check"]["reviews_poisson_share"] == pytest.approx(mean / variance)
    # The result is not luck: the budget and the days were large enough.
    assert found["likely_error"] < 0.05
