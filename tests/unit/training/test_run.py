"""Training from files: the stream's features, stated thresholds, and reproducible bundles."""

import hashlib
import json
import shlex
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info, threadpool_limits
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import Manifest, ThresholdCosts
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.deployment import load_plan
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.simulator.files import write_table
from stream_scorer.training.days import Days, RelativeSplit, Split, split_for
from stream_scorer.training.features import CUSTOMER_FEATURES, FEATURES, read_features
from stream_scorer.training.fold import fold
from stream_scorer.training.models import ESTIMATORS, make_model, read_parameters
from stream_scorer.training.run import TrainingJob, train
from stream_scorer.training.thresholds import choose_thresholds
from tests.support.training.train_cases import SPLIT, fitted, on_test_days, order

DATES = (
    "--train", "2018-04-20:2018-05-05", "--validation", "2018-05-06:2018-05-10",
    "--test", "2018-05-18:2018-05-22",
)  # fmt: skip


Trained = tuple[Path, Manifest]


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Return a kind's bundle with default options; it is trained once, and must not change."""

    @cache
    def of(kind: str) -> Trained:
        return train(order(data, tmp_path_factory.mktemp(kind), model=kind))

    return of


@pytest.fixture
def tree(trained: Callable[[str], Trained]) -> Trained:
    return trained("decision_tree")


def told_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind == "decision_tree" else pytest.mark.thorough)
        for kind in ESTIMATORS
    ],
)
def test_the_same_data_gives_the_same_content_and_it_scores(
    kind: str,
    data: Path,
    labelled: pa.Table,
    tmp_path: Path,
    trained: Callable[[str], Trained],
) -> None:
    first, told = trained(kind)
    _, again = train(order(data, tmp_path, "1.0.1", model=kind))
    assert told.content_hash == again.content_hash
    moments = told.training.trained_at, again.training.trained_at
    assert None not in moments
    undated = [one.training.model_copy(update={"trained_at": None}) for one in (told, again)]
    assert undated[0] == undated[1]
    assert told.kind == kind
    assert find(FolderStore(first.parents[1]), "fraud:1.0.0").shown == str(first)

    loaded = load_bundle(first)
    features = loaded.model(Plan()).features
    rows = fold(labelled, features, Plan(), labelled["is_fraud"].to_numpy()).features
    scores = loaded.predictor.scores(rows)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(np.unique(scores)) > 1
    assert on_test_days(told.training).auc > 0.5
    assert fitted(told.training).rows > fitted(told.training).frauds > 0


def test_the_model_is_fitted_in_one_thread(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, threads = DecisionTreeClassifier.fit, []

    def counting(*arguments: Any) -> Any:
        threads.append({pool["num_threads"] for pool in threadpool_info()})
        return fit(*arguments)

    monkeypatch.setattr(DecisionTreeClassifier, "fit", counting)
    with threadpool_limits(2):
        train(order(data, tmp_path))
    assert threads == [{1}]


def test_other_data_and_other_costs_give_another_content(
    data: Path, tmp_path: Path, trained: Callable[[str], Trained]
) -> None:
    model = "hist_gradient_boosting"
    _, one = trained(model)
    later = Split(Days(date(2018, 4, 21), SPLIT.train.last), SPLIT.validation, SPLIT.test)
    _, two = train(order(data, tmp_path, "1.0.1", model=model, split=later))
    assert one.content_hash != two.content_hash
    dear = ThresholdCosts(review=500, false_block=10_000)
    _, three = train(order(data, tmp_path, "1.0.2", model=model, costs=dear))
    assert three.thresholds.review > one.thresholds.review
    assert three.content_hash != one.content_hash


def test_a_file_declares_the_features(data: Path, declared: Path, tmp_path: Path) -> None:
    directory, told = train(order(data, tmp_path, features=declared, parameters={"max_depth": 3}))
    assert [spec["name"] for spec in told.features] == ["AMOUNT", "LARGEST", "RISK"]
    assert told.parameters["max_depth"] == 3
    # A manifest is also a list of features, and gives the same model.
    _, again = train(
        order(
            data, tmp_path, "1.0.1", features=directory / "manifest.json",
            parameters={"max_depth": 3},
        )
    )  # fmt: skip
    assert again.content_hash == told.content_hash


def test_the_default_features_are_the_fifteen_of_the_handbook() -> None:
    specs, features = read_features(None, Plan())
    assert specs == FEATURES
    assert len(features.names) == 15
    assert features.names[-1] == "TERMINAL_ID_RISK_30DAY_WINDOW"


def test_features_of_customers_are_those_of_the_handbook(labelled: pa.Table) -> None:
    folded = fold(labelled, compile_features(CUSTOMER_FEATURES, Plan()), Plan())
    frame = labelled.select(["event_time", "customer_id", "amount_minor"]).to_pandas()
    assert folded.rows.tolist() == list(range(len(frame)))
    amount = frame["amount_minor"] / 100
    time = frame["event_time"]
    expected = [amount, time.dt.day_of_week >= 5, time.dt.hour <= 6]
    counts, means = [], []
    for length in (1, 7, 30):
        count, mean = np.zeros(len(frame)), np.zeros(len(frame))
        for _, rows in frame.assign(amount=amount).groupby("customer_id"):
            # Pandas' window is (t - length, t]. Of rows with equal times, it only sees the earlier
            # ones in the order of arrival.
            window = rows.set_index("event_time")["amount"].rolling(f"{length}D")
            count[rows.index] = window.count().to_numpy()
            mean[rows.index] = window.mean().to_numpy()
        counts.append(count)
        means.append(mean)
    oracle = np.column_stack([np.asarray(c, np.float64) for c in (*expected, *counts, *means)])
    assert np.array_equal(folded.features[:, :6], oracle[:, :6])
    assert np.abs(folded.features[:, 6:] - oracle[:, 6:]).max() < 1e-9


def test_the_card_and_the_manifest_contain_the_quality(tree: Trained) -> None:
    directory, told = tree
    files = told_of(directory)
    assert set(files) == {
        "manifest.json", "model.safetensors", "original.skops", "golden.json", "card.md",
        "card.png", "reference.json",
    }  # fmt: skip
    for name, digest in told.files.items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    card = files["card.md"].decode()
    test = on_test_days(told.training)
    assert f"{test.average_precision:.4f} (" in card
    assert f"BLOCK from {told.thresholds.block:.4f}" in card
    assert "| TERMINAL_ID_RISK_7DAY_WINDOW | risk |" in card
    assert files["card.png"].startswith(b"\x89PNG")
    for name in ("card_precision", "recall_at_1_percent_fpr", "brier", "calibration_error"):
        assert 0 <= getattr(test, name) <= 1
        assert test.intervals[name].low <= test.intervals[name].high
    new = told.training.test_new_cards
    assert new is not None
    assert new.period.rows < test.period.rows


def test_the_manifest_has_feature_distributions_outside_its_hash(
    data: Path, tmp_path: Path, tree: Trained
) -> None:
    _, told = train(order(data, tmp_path, licence="CC-BY-4.0"))
    reference, rows = told.reference, fitted(told.training).rows
    assert reference is not None
    assert reference.rows == rows
    assert list(reference.features) == [feature["name"] for feature in told.features]
    for histogram in (*reference.features.values(), reference.score):
        assert sum(histogram.counts) + histogram.missing == rows
    night = reference.features["TX_DURING_NIGHT"]
    assert (night.edges, len(night.counts)) == ((0.0,), 2)
    assert all(0 <= edge < 1 for edge in reference.score.edges)
    # The same training without a licence gives the same content.
    _, other = tree
    assert (other.licence, other.reference) == (None, reference)
    assert other.content_hash == told.content_hash


def test_a_licence_is_a_name(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--licence: 0 characters"):
        train(order(data, tmp_path, licence=""))
    with pytest.raises(SettingsError, match="--licence: 201 characters"):
        train(order(data, tmp_path, licence="x" * 201))


def test_labels_that_came_late_are_not_used(
    labelled: pa.Table, tmp_path: Path, tree: Trained
) -> None:
    def trained(version: str, label_time: pa.Array) -> Manifest:
        path = tmp_path / f"{version}.parquet"
        write_table(labelled.append_column("label_time", label_time), path)
        return train(order(path, tmp_path, version))[1]

    time = labelled["event_time"].cast(pa.int64()).to_numpy()
    stamp = pa.timestamp("ms", "UTC")
    _, at_once = tree
    soon = trained("1.0.1", pa.array(time + 86_400_000, stamp))
    assert soon.content_hash == at_once.content_hash
    begun = pd.Timestamp("2018-05-18", tz="UTC").value // 1_000_000
    hidden = labelled["is_fraud"].to_numpy() & (np.arange(len(time)) % 4 == 0)
    late = trained("1.0.2", pa.array(np.where(hidden, begun + 1, time), stamp))
    assert fitted(late.training).frauds < fitted(at_once.training).frauds
    assert on_test_days(late.training).period == on_test_days(at_once.training).period


def test_bad_options_are_refused_in_one_line(
    data: Path, labelled: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="known are hist_gradient_boosting"):
        train(order(data, tmp_path, model="svm"))
    with pytest.raises(SettingsError, match="the train days 2018-07-25:2018-07-31 hold 0"):
        train(TrainingJob(data, "decision_tree", "1.0.0", store=tmp_path))
    with pytest.raises(SettingsError, match="--cards-per-day 0: less than 1"):
        train(order(data, tmp_path, cards_per_day=0))
    with pytest.raises(SettingsError, match="--resamples -1: less than 0"):
        train(order(data, tmp_path, resamples=-1))
    with pytest.raises(SettingsError, match="max_dept: decision_tree has none"):
        train(order(data, tmp_path, parameters={"max_dept": 3}))
    with pytest.raises(SettingsError, match=r"model decision_tree: .*max_depth") as caught:
        train(order(data, tmp_path, parameters={"max_depth": -3}))
    assert "\n" not in str(caught.value)
    unlabelled = tmp_path / "unlabelled.csv"
    write_table(labelled.slice(0, 5).drop_columns(["is_fraud"]), unlabelled)
    with pytest.raises(SettingsError, match="'is_fraud' is missing"):
        train(order(unlabelled, tmp_path))
    (tmp_path / "fraud" / "1.0.0").mkdir(parents=True)
    with pytest.raises(ModelError, match="versions never change"):
        train(order(data, tmp_path))
    assert [path.name for path in (tmp_path / "fraud").iterdir()] == ["1.0.0"]


def test_valid_data_are_reported_as_without_rejects(labelled: pa.Table, tree: Trained) -> None:
    directory, told = tree
    assert (told.training.rows, told.training.rejected) == (len(labelled), {})
    card = (directory / "card.md").read_text()
    assert f"None of the data's {len(labelled):,} transactions was rejected." in card
    assert "days that were asked for" not in card


def test_periods_contain_the_days_that_exist(data: Path, declared: Path, tmp_path: Path) -> None:
    asked = Split(
        Days(date(2017, 1, 1), SPLIT.train.last), SPLIT.validation,
        Days(SPLIT.test.first, date(2018, 12, 31)),
    )  # fmt: skip
    directory, told = train(order(data, tmp_path, split=asked, features=declared))
    training = told.training
    assert (fitted(training).first_day, fitted(training).last_day) == (
        date(2018, 4, 1), SPLIT.train.last
    )  # fmt: skip
    assert on_test_days(training).period.first_day == SPLIT.test.first
    assert on_test_days(training).period.last_day == date(2018, 5, 22)
    assert training.asked == {
        "train": "2017-01-01:2018-05-05", "validation": str(SPLIT.validation),
        "test": "2018-05-18:2018-12-31",
    }  # fmt: skip
    card = (directory / "card.md").read_text()
    assert "asked for: train 2017-01-01 to 2018-05-05, test 2018-05-18 to 2018-12-31." in card
    # The requested days are only reported; the content depends on the days that exist.
    there = Split(Days(date(2018, 4, 1), SPLIT.train.last), SPLIT.validation, SPLIT.test)
    _, again = train(order(data, tmp_path, "1.0.1", split=there, features=declared))
    assert again.content_hash == told.content_hash


def test_days_from_the_end_give_the_bundle_of_their_dates(
    data: Path, declared: Path, tmp_path: Path
) -> None:
    dated = train(order(data, tmp_path, features=declared))[1]
    relative = split_for("latest", "end-32:end-17", "end-16:end-12", "end-4:end", None)
    assert isinstance(relative, RelativeSplit)
    assert relative.ending(date(2018, 5, 22)) == SPLIT
    told = train(order(data, tmp_path, "1.0.1", features=declared, split=relative))[1]
    assert told.content_hash == dated.content_hash
    assert told.training.asked == dated.training.asked
    overlapping = split_for("latest", "end-32:end-13", "end-16:end-12", "end-4:end", None)
    with pytest.raises(SettingsError, match="the train days 2018-04-20:2018-05-09 and the valid"):
        train(order(data, tmp_path, "1.0.2", features=declared, split=overlapping))
    with pytest.raises(SettingsError, match="delay -1: less than 0 days"):
        train(order(data, tmp_path, "1.0.2", split=split_for("latest", None, None, None, -1)))


def test_thresholds_are_chosen_on_the_validation_days(
    data: Path, labelled: pa.Table, tmp_path: Path
) -> None:
    directory, told = train(order(data, tmp_path, parameters={"max_depth": 4}, resamples=0))
    _, features = read_features(None, Plan())
    rows = fold(labelled, features, Plan(), labelled["is_fraud"].to_numpy()).features
    scores = load_bundle(directory).predictor.scores(rows)
    day = labelled["event_time"].cast(pa.int64()).to_numpy() // 86_400_000
    amount = labelled["amount_minor"].to_numpy() / 100

    def best(days: Days) -> tuple[float, float]:
        at = days.holds(day)
        fraud = labelled["is_fraud"].to_numpy()[at].astype(np.int64)
        chosen = choose_thresholds(scores[at], fraud, amount[at], ThresholdCosts())
        return chosen.review, chosen.block

    assert (told.thresholds.review, told.thresholds.block) == best(SPLIT.validation)
    assert best(SPLIT.validation) != best(SPLIT.test)


def test_an_unwritable_store_is_reported_before_data_are_read(tmp_path: Path) -> None:
    nothing = tmp_path / "none.parquet"
    (tmp_path / "file").write_text("")
    # On Linux, no user can create a directory in /proc; and a file is not a directory.
    for store in (Path("/proc/models"), tmp_path / "file"):
        with pytest.raises(ModelError, match=r"cannot be written .* --out"):
            train(order(nothing, store))
    with pytest.raises(SettingsError, match="no such file"):
        train(order(nothing, tmp_path / "a" / "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def write(text: str, name: str) -> Callable[[Path], Path]:
    def place(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return place


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.toml", "cannot be read"),
        (lambda folder: folder, "unknown kind of file"),
        (write("features = [", "broken.toml"), "broken.toml"),
        (write("{", "broken.json"), "broken.json"),
        (write("[]", "empty.json"), "no list of features"),
        (write('{"feature": []}', "other.json"), "no list of features"),
        (write('["AMOUNT"]', "names.json"), "no list of features"),
        (write('[{"name": "A", "kind": "guess"}]', "kind.json"), "kind 'guess' is not known"),
        (
            write(
                '[{"name": "A", "kind": "count", "key": "terminal_id", "window": "7d"}]', "t.json"
            ),
            "needs the key 'delay'",
        ),
    ],
)
def test_bad_feature_files_are_refused_in_one_line(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read_features(make(tmp_path), Plan())
    assert "\n" not in str(caught.value)
    assert caught.value.fix


def test_parameters_are_read_as_json_or_text() -> None:
    read = read_parameters(["max_depth=3", "class_weight=balanced", 'splitter="random"'])
    assert read == {"max_depth": 3, "class_weight": "balanced", "splitter": "random"}
    assert make_model("decision_tree", read).max_depth == 3
    assert make_model("logistic_regression", {"C": 2.0}).steps[-1][1].C == 2.0
    for bad in (["max_depth"], ["=3"], ["a="]):
        with pytest.raises(SettingsError, match="write NAME=VALUE"):
            read_parameters(bad)
    with pytest.raises(SettingsError, match="given twice"):
        read_parameters(["a=1", "a=2"])
    for endless in ("a=NaN", "a=Infinity", "a=-1e400"):
        with pytest.raises(SettingsError, match=f"parameter '{endless}': not a finite number"):
            read_parameters([endless])


def test_the_commands_report_as_json(tmp_path: Path, data: Path, declared: Path) -> None:
    out = tmp_path / "three.csv"
    simulated = CliRunner().invoke(app, ["simulate", "--days", "3", "--out", str(out), "--json"])
    report = json.loads(simulated.stdout)
    assert report["rows"] == len(pd.read_csv(out)) > 20_000
    assert report["frauds"] == sum(report[f"scenario_{n}"] for n in (1, 2, 3))
    trained = CliRunner().invoke(
        app,
        [
            "train", "--data", str(data), "--model", "decision_tree", "--version", "1.0.0",
            "--out", str(tmp_path), *DATES, "--features", str(declared), "--parameter",
            "max_depth=4", "--review-cost", "2", "--false-block-cost", "30",
            "--missed-fraud-cost", "0.9*amount+10", "--resamples", "10", "--cards-per-day", "5",
            "--licence", "Apache-2.0", "--json",
        ],
    )  # fmt: skip
    report = json.loads(trained.stdout)
    assert report["bundle"] == "fraud:1.0.0"
    assert report["intervals"]["auc"][0] < report["auc"] < report["intervals"]["auc"][1]
    told = load_bundle(tmp_path / "fraud" / "1.0.0").manifest
    assert told.content_hash == report["content_hash"]
    costs = told.training.costs
    assert costs is not None
    assert (costs.missed_share, costs.missed_fixed, costs.review) == (0.9, 10.0, 2.0)
    assert (told.training.cards_per_day, told.training.resamples) == (5, 10)
    assert told.licence == "Apache-2.0"
    refused = CliRunner().invoke(app, ["simulate", "--out", str(tmp_path / "x.pickle")])
    assert isinstance(refused.exception, SettingsError)


def test_batch_finds_the_bundle_by_the_command_that_train_prints(
    data: Path, tmp_path: Path
) -> None:
    declared = tmp_path / "features.json"
    declared.write_text('{"features": [{"name": "A", "kind": "passthrough", "field": "amount"}]}')
    store = tmp_path / "a store"
    trained = CliRunner().invoke(
        app,
        [
            "train", "--data", str(data), "--model", "decision_tree", "--version", "7.0.0",
            "--out", str(store), *DATES, "--features", str(declared), "--resamples", "0",
        ],
        env={"COLUMNS": "80"},
    )  # fmt: skip
    assert trained.exit_code == 0, trained.exception
    (line,) = [each for each in trained.stdout.splitlines() if each.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: stream-scorer "))
    decided = tmp_path / "decisions.parquet"
    files = {"IN": str(data), "OUT": str(decided)}
    done = CliRunner().invoke(app, [*(files.get(word, word) for word in words), "--json"])
    assert done.exit_code == 0, done.exception
    report = json.loads(done.stdout)
    assert report["model"] == "fraud:7.0.0"
    assert sum(report["outcomes"].values()) > 0


def test_a_file_and_a_mapping_of_the_data_train_the_same_model(
    data: Path, declared: Path, tmp_path: Path
) -> None:
    plain = train(order(data, tmp_path / "plain", features=declared))[1]
    (tmp_path / "events.toml").write_text(
        '[fields]\ntransaction_id = "id"\ncustomer_id = "card"\nterminal_id = "till"\n'
        'event_time = {path = "at", zone = "UTC"}\namount = {path = "cents", unit = "minor"}\n'
        'currency = {constant = "EUR"}\n'
    )
    table = pq.read_table(data)
    theirs = {"id": "transaction_id", "card": "customer_id", "till": "terminal_id",
              "at": "event_time", "cents": "amount_minor", "is_fraud": "is_fraud"}  # fmt: skip
    pq.write_table(
        pa.table({name: table[own] for name, own in theirs.items()}), tmp_path / "theirs.parquet"
    )
    (tmp_path / "job.toml").write_text(
        f'data = "theirs.parquet"\nmodel = "decision_tree"\nversion = "9.9.9"\nout = "store"\n'
        f'events = "events.toml"\nfeatures = "{declared}"\nresamples = 20\n'
        'protocol = "latest"\ntrain = "end-32:end-17"\nvalidation = "end-16:end-12"\n'
        'test = "end-4:end"\n'
    )
    done = CliRunner().invoke(
        app, ["train", str(tmp_path / "job.toml"), "--version", "1.0.0", "--json"]
    )
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["content_hash"] == plain.content_hash
    folder = tmp_path / "store" / "fraud"
    assert load_plan(folder).mapping is not None
    assert sorted(path.name for path in folder.iterdir()) == ["1.0.0", "events.toml", "plan.toml"]


def _by_terminal(folder: Path, delay: str) -> Path:
    features = folder / "features.toml"
    features.write_text(
        '[[features]]\nname = "AMOUNT"\nkind = "passthrough"\nfield = "amount"\n\n'
        '[[features]]\nname = "RISK"\nkind = "risk"\nkey = "terminal_id"\n'
        f'delay = "{delay}"\nwindow = "7d"\n'
    )
    return features


@pytest.mark.parametrize("where", ["option", "beside"])
def test_the_plan_gives_currency_and_delay_and_the_bundle_loads(
    where: str, data: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "other.toml"
    if where == "beside":
        plan = tmp_path / "fraud" / "plan.toml"
        plan.parent.mkdir()
    plan.write_text(f"terminal_delay_ms = {3 * 86_400_000}\n")
    command = [
        "train", "--data", str(data), "--model", "decision_tree", "--version", "1.0.0", "--out",
        str(tmp_path), *DATES, "--features", str(_by_terminal(tmp_path, "3d")), "--resamples", "0",
        "--json",
    ]  # fmt: skip
    given = [*command, "--plan", str(plan)] if where == "option" else command
    trained = CliRunner().invoke(app, given)
    assert trained.exit_code == 0, trained.exception
    # The plan is not known when the bundle is loaded.
    bundle = load_bundle(tmp_path / "fraud" / "1.0.0")
    assert bundle.model(Plan(terminal_delay_ms=3 * 86_400_000)).features.names[1] == "RISK"
    with pytest.raises(ModelError, match="delay 3d is not that of the plan"):
        bundle.model(Plan())


def test_a_delay_unlike_the_plans_is_refused_before_training(data: Path, tmp_path: Path) -> None:
    refused = CliRunner().invoke(
        app,
        [
            "train", "--data", str(data), "--model", "decision_tree", "--version", "1.0.0",
            "--out", str(tmp_path), *DATES, "--features", str(_by_terminal(tmp_path, "3d")),
        ],
    )  # fmt: skip
    assert isinstance(refused.exception, SettingsError)
    assert "delay 3d is not that of the plan" in str(refused.exception)
