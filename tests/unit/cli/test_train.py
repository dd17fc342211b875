"""``train`` gets its options from the command line or from a file; the command line overrides."""

from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.training.days import PROTOCOLS, Days, RelativeDays, RelativeSplit
from stream_scorer.training.job_file import read_job_file
from stream_scorer.training.run import TrainingJob
from tests.support.tables.foreign_files import EVENTS, plan_with

BASE = 'data = "d.csv"\nmodel = "decision_tree"\nversion = "1.0.0"\nout = "store"\n'
# For each key of the file: the same value as an option, and the changed attribute of the job.
KEYS: dict[str, tuple[str, list[str], str]] = {
    "data": ('"e.csv"', ["--data", "FOLDER/e.csv"], "data"),
    "model": ('"random_forest"', ["--model", "random_forest"], "model"),
    "version": ('"2.0.0"', ["--version", "2.0.0"], "version"),
    "name": ('"other"', ["--name", "other"], "name"),
    "out": ('"else"', ["--out", "FOLDER/else"], "store"),
    "features": ('"f.toml"', ["--features", "FOLDER/f.toml"], "features"),
    "plan": ('"plan.toml"', ["--plan", "FOLDER/plan.toml"], "plan"),
    "events": ('"events.toml"', ["--events", "FOLDER/events.toml"], "plan"),
    "parameter": ("{max_depth = 3}", ["--parameter", "max_depth=3"], "parameters"),
    "protocol": ('"latest"', ["--protocol", "latest"], "split"),
    "train": ('"end-9:end-8"', ["--train", "end-9:end-8"], "split"),
    "validation": ('"2018-07-01:2018-07-02"', ["--validation", "2018-07-01:2018-07-02"], "split"),
    "test": ('"2018-08-20:end"', ["--test", "2018-08-20:end"], "split"),
    "delay_days": ("3", ["--delay-days", "3"], "split"),
    "missed_fraud_cost": ("20", ["--missed-fraud-cost", "20"], "costs"),
    "review_cost": ("2", ["--review-cost", "2"], "costs"),
    "false_block_cost": ("2.5", ["--false-block-cost", "2.5"], "costs"),
    "cards_per_day": ("7", ["--cards-per-day", "7"], "cards_per_day"),
    "resamples": ("0", ["--resamples", "0"], "resamples"),
    "sort": ("true", ["--sort"], "sort"),
    "matured": ("true", ["--matured"], "split"),
    "most_rejected": ("0.5", ["--most-rejected", "0.5"], "most_rejected"),
    "licence": ('"MIT"', ["--licence", "MIT"], "licence"),
    "engine": ("3", ["--engine", "3"], "engine"),
    "labels": ('{is_fraud = "flag"}', ["--labels", "FOLDER/labels.toml"], "labels"),
}


class Asked(Exception):  # noqa: N818 what was asked for, no error
    """Ends the command before it trains."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text("lateness_ms = 1000\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "events.toml").write_text(EVENTS)
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "labels.toml").write_text('model = "?"\n[labels]\nis_fraud = "flag"\n')
    return tmp_path


def asked(folder: Path, *words: str) -> TrainingJob:
    """Return the job of a command line."""
    given = [word.replace("FOLDER", str(folder)) for word in words]
    with mock.patch("stream_scorer.training.run.train", side_effect=Asked) as train:
        done = CliRunner().invoke(app, ["train", *given])
    assert isinstance(done.exception, Asked), done.exception or done.output
    job: TrainingJob = train.call_args.args[0]
    return job


def changed(one: TrainingJob, other: TrainingJob) -> set[str]:
    names = [field.name for field in fields(TrainingJob)]
    return {name for name in names if getattr(one, name) != getattr(other, name)}


def with_key(folder: Path, key: str) -> str:
    """Write a file with one more or another key; return its path."""
    kept = [line for line in BASE.splitlines() if not line.startswith(f"{key} = ")]
    value = KEYS[key][0].replace("events.toml", "other/events.toml")
    (folder / "job.toml").write_text("\n".join([*kept, f"{key} = {value}"]))
    return str(folder / "job.toml")


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_its_option(folder: Path, key: str) -> None:
    base = asked(folder, "FOLDER/base.toml")
    _, words, attribute = KEYS[key]
    words = [word.replace("events.toml", "other/events.toml") for word in words]
    by_file = asked(folder, with_key(folder, key))
    assert changed(base, by_file) == {attribute}
    assert changed(by_file, asked(folder, "FOLDER/base.toml", *words)) == set()


def test_every_option_has_a_key(folder: Path) -> None:
    listed = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).stdout
    for key in KEYS:
        assert f"--{key.replace('_', '-')}" in listed
    (folder / "all.toml").write_text(f"{BASE}nothing = 1\n")
    with pytest.raises(SettingsError) as caught:
        read_job_file(folder / "all.toml")
    assert str(caught.value).endswith(f"known are {', '.join(sorted(KEYS))}")


def test_options_are_stronger_than_the_file(folder: Path) -> None:
    (folder / "job.toml").write_text(
        BASE + 'sort = true\nreview_cost = 2\nprotocol = "latest"\n'
        "[parameter]\nmax_depth = 3\nmin_samples_leaf = 5\n"
    )
    job = asked(
        folder, "FOLDER/job.toml", "--no-sort", "--review-cost", "5", "--protocol", "handbook",
        "--parameter", "max_depth=4",
    )  # fmt: skip
    base = asked(folder, "FOLDER/base.toml")
    assert changed(base, job) == {"parameters"}
    assert job.parameters == {"max_depth": 4, "min_samples_leaf": 5}


def test_the_defaults_without_a_file_are_those_of_the_job(folder: Path) -> None:
    job = asked(folder, "--data", "d", "--model", "m", "--version", "1.0.0", "--out", "models")
    assert changed(job, TrainingJob(Path("d"), "m", "1.0.0")) <= {"plan"}
    assert job.split == PROTOCOLS["handbook"]


def test_events_are_the_mapping_of_the_plan(folder: Path) -> None:
    words = ["FOLDER/base.toml", "--events", "FOLDER/other/events.toml"]
    assert asked(folder, *words).plan == plan_with()
    with_plan = asked(folder, *words, "--plan", "FOLDER/plan.toml").plan
    assert with_plan == plan_with(lateness_ms=1_000)
    (folder / "other" / "plan.toml").write_text("")
    (folder / "other" / "events.toml").write_text(EVENTS + RATES_NONE)
    named = asked(folder, "FOLDER/base.toml", "--plan", "FOLDER/other").plan
    assert named.events["labels"]["is_fraud"] == "flag"
    (folder / "own.toml").write_text(EVENTS)
    replaced = asked(
        folder, "FOLDER/base.toml", "--plan", "FOLDER/other", "--events", "FOLDER/own.toml"
    )
    assert replaced.plan == plan_with()
    assert asked(folder, "FOLDER/base.toml").plan == Plan()


RATES_NONE = '\n[labels]\ntransaction_id = "a"\nevent_time = "b"\nis_fraud = "flag"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("epochs = 5", "unknown key 'epochs'"),
        ("review-cost = 5", "unknown key 'review-cost'"),
        ("[days]\ntrain = 'a'", "unknown key 'days'"),
        ("review_cost = '5'", "review_cost: must be a finite number, not '5'"),
        ("review_cost = nan", "review_cost: must be a finite number, not nan"),
        ("review_cost = true", "review_cost: must be a finite number, not True"),
        ("resamples = 1.5", "resamples: must be a whole number, not 1.5"),
        ("sort = 1", "sort: must be true or false, not 1"),
        ("data = ''", "data: must be the path of a file or folder, not ''"),
        ("train = 2018-04-20", "train: must be text, not datetime.date"),
        ("model = ['a']", "model: must be text, not ['a']"),
        ("labels = 'flag'", "labels: must be a table that names columns, not 'flag'"),
        ("[labels]\nfraud = 'flag'", "labels: unknown key 'fraud'"),
        ("parameter = 5", "parameter: must be a table of NAME"),
        ("[parameter]\na = [1]", "parameter: must be a table of NAME"),
        ("[parameter]\na = inf", "parameter: must be a table of NAME"),
        ("missed_fraud_cost = inf", "missed_fraud_cost: must be text such as"),
        ("data = ", "not TOML"),
        ("a = " + "[" * 100 + "]" * 100, "nested deeper than 64"),
        ("#" + "a" * (1 << 20), "is larger than 1 MiB"),
        ("\0", "not TOML"),
    ],
)
def test_an_invalid_file_is_refused_by_key(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_job_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["train", *words])
    assert isinstance(done.exception, SettingsError), done.exception or done.output
    return str(done.exception)


def test_what_is_missing_is_named(folder: Path) -> None:
    assert "train: data is missing" in refused()
    assert "train: model is missing" in refused("--data", "d")
    assert "train: version is missing" in refused("--data", "d", "--model", "m")
    assert "nowhere.toml: No such file" in refused(str(folder / "nowhere.toml"))
    base = str(folder / "base.toml")
    assert "no such file" in refused(base, "--events", str(folder / "nowhere.toml"))
    (folder / "bad.toml").write_text("[fields]\nmcc = 5\n")
    told = refused(base, "--events", str(folder / "bad.toml"))
    assert "bad.toml: fields.transaction_id: is missing" in told
    assert "protocol 'first': unknown" in refused(base, "--protocol", "first")
    (folder / "latin.toml").write_bytes(b"model = '\xff'")
    assert "latin.toml: " in refused(str(folder / "latin.toml"))


def test_days_may_be_relative_to_the_end(folder: Path) -> None:
    split: Any = asked(
        folder, "FOLDER/base.toml", "--protocol", "latest", "--test", "end-2:end"
    ).split
    assert isinstance(split, RelativeSplit)
    ended = split.ending(date(2026, 1, 31))
    assert ended.test == Days(date(2026, 1, 29), date(2026, 1, 31))
    assert ended.validation == Days(date(2026, 1, 11), date(2026, 1, 17))
    assert split.train == RelativeDays(50, 21)
