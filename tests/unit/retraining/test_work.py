"""From a dataset to an accepted plan: search, fit, gate, bundle and proposal on real files."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.labelling.contract import UNKNOWN
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import (
    CARD,
    GATE,
    REFERENCE,
    FeatureSpec,
    read_manifest,
)
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.retraining.rules.rules_file import rules_of
from stream_scorer.retraining.run import gate_rows
from stream_scorer.retraining.run import work as working
from stream_scorer.retraining.run.contract import Run
from stream_scorer.retraining.run.steps import advance
from stream_scorer.retraining.run.store import next_version
from stream_scorer.retraining.run.work import TrainerWork
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.plan_file import RolloutPlan
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.settings import Models, Settings
from stream_scorer.training.features import read_features
from stream_scorer.training.labelled import DatasetFolder, LabelledData
from tests.support.dataset.made_datasets import build, known_of
from tests.support.models.noise_bundles import AMOUNT, write
from tests.support.retraining.night_city import (
    DAY,
    DAYS,
    FEATURES,
    FIRST,
    city,
    columns,
    decisions,
    fraud_labels,
)
from tests.support.rollout.grants import STEADY, TRAINER, Trained

TOKYO: FeatureSpec = {"name": "TOKYO", "kind": "hour", "timezone": "Asia/Tokyo"}
"""A feature that the champion does not have."""
RULES: dict[str, Any] = {
    "cost_of_retraining": 400.0, "horizon_days": 100, "trials": 2,
    "space": {"max_leaf_nodes": [7, 15]},
}  # fmt: skip


BEGUN = Run(
    1, "triggered", "it rose", "loss", 5, parent="fraud:0.1.0", version="0.2.0",
    first_ms=FIRST * DAY, end_ms=(FIRST + DAYS) * DAY, tolerance=0.001,
)  # fmt: skip


class FakeLog:
    """A control log in memory."""

    def __init__(self, writer: Trained) -> None:
        self.writer = writer

    @property
    def log(self) -> Any:
        return self.writer.log

    def refresh(self) -> Any:
        return self.log.state

    def append(
        self, kind: CommandKind, body: StrictModel, key: Ed25519PrivateKey, *, expected: bytes
    ) -> Any:
        assert expected == self.log.state.head
        entry = self.writer.give(kind.value, key, **body.model_dump(mode="json"))
        assert entry.refused == ""
        return entry


def stream(_: Settings, order: Any, features: FeatureSet, *__: object) -> LabelledData:
    """Return what the topic of the transactions would have."""
    assert (order.first_ms, order.end_ms) == (FIRST * DAY, (FIRST + DAYS) * DAY)
    time, amount, _, _ = city()
    table = pa.table({
        "event_time": pa.array(time, pa.timestamp("ms", "UTC")), "currency": ["EUR"] * len(time),
        "amount_minor": np.round(amount * 100).astype(np.int64),
    })  # fmt: skip
    return LabelledData(
        table, time, columns(features.names), len(time), {}, np.full(len(time), UNKNOWN, np.uint8),
    )  # fmt: skip


def proposed(work: TrainerWork) -> Run:
    """Take a run to its proposal."""
    run = BEGUN
    while run.step not in {"proposed", "failed"}:
        run = advance(run, work, lambda _: None)
    assert run.step == "proposed", run.reason
    return run


def card_of(run: Run, store: Path) -> str:
    name, _, version = run.label.partition(":")
    return (store / name / version / CARD).read_text()


@pytest.fixture
def writer(tmp_path: Path) -> Trained:
    write(tmp_path / "models", "0.1.0", FEATURES)
    write(tmp_path / "wider", "0.1.0", (*FEATURES, TOKYO))
    return Trained(feature_sets=[
        read_manifest(tmp_path / store / "fraud" / "0.1.0").feature_set
        for store in ("models", "wider")
    ])  # fmt: skip


@pytest.fixture
def work(writer: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainerWork:
    return trainer(writer, tmp_path, monkeypatch)


def trainer(
    writer: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Models | None = None,
    **rules: Any,
) -> TrainerWork:  # fmt: skip
    def built(_: Settings, order: Any) -> Any:
        # Other features are folded with the engine of this version.
        assert order.model == BEGUN.parent
        specs = FEATURES
        if order.features is not None:
            specs, _compiled = read_features(order.features, Plan())
        listed = [str(each["name"]) for each in specs]
        build(
            order.out, [decisions(listed)], known_of(fraud_labels()), specs, listed,
            first_ms=order.first_ms, end_ms=order.end_ms,
        )  # fmt: skip
        return SimpleNamespace(digest=DatasetFolder.open(order.out).digest)

    for module in (working, gate_rows):
        monkeypatch.setattr(module, "build_dataset", built)
    monkeypatch.setattr(working, "read_stream", stream)
    log: Any = FakeLog(writer)
    audit: Any = SimpleNamespace(record=lambda *_: None)
    settings = Settings(models=models or Models(directory=tmp_path / "models"))
    read = rules_of(RULES | rules)
    return TrainerWork(settings, read, log, TRAINER, tmp_path / "retrain", audit)


def test_a_better_version_is_signed_and_proposed(
    work: TrainerWork, writer: Trained, tmp_path: Path
) -> None:
    run = proposed(work)
    assert list(run.digests) == ["dataset", "search", "fit", "gate", "bundle", "proposed"]
    assert {each.parameters["max_leaf_nodes"] for each in run.trials} <= {7, 15}
    plan = writer.log.state.plan
    assert isinstance(plan, RolloutPlan)
    assert plan.provenance is not None
    assert plan.provenance.manifest_sha256 == run.digests["bundle"]
    granted = writer.log.state.trained
    bundle = tmp_path / "models" / "fraud" / "0.2.0"
    loaded = load_bundle(bundle, Trust(required=True).with_granted(granted))
    assert loaded.manifest.lineage_parent is not None
    # A kill after a step repeats it: nothing is written or proposed twice.
    sequence = writer.log.state.sequence
    assert work.bundle(run) == run.digests["bundle"]
    work.propose(run)
    assert writer.log.state.sequence == sequence
    assert work.watch(run) == ""
    writer.accept("promote", arm="canary")
    assert work.watch(run) == "promoted"
    (tmp_path / "retrain" / "runs" / "1" / GATE).write_bytes(b"{}")
    with pytest.raises(ModelError, match=rf"{GATE} was changed"):
        work.bundle(run)


def test_the_gate_decides_by_the_plans_thresholds(
    writer: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = trainer(writer, tmp_path, monkeypatch)
    run = BEGUN
    while run.step != "fit":
        run = advance(run, work, lambda _: None)
    assert work.gate(run).gated.cost[1] != 0
    # Nobody is alerted, whatever the bundles say: so both cost the same.
    nobody = {"default": {"review": 1.0, "block": 1.0}}
    assert writer.start(STEADY, shared={"policy": nobody}).refused == ""
    assert work.gate(run).gated.cost == (0.0, 0.0, 0.0)


def test_a_version_has_a_reference_of_all_of_the_stream(work: TrainerWork, tmp_path: Path) -> None:
    run = proposed(work)
    loaded = load_bundle(tmp_path / "models" / "fraud" / "0.2.0")
    found = loaded.reference
    assert found is not None
    assert (found.model, found.version) == ("fraud", "0.2.0")
    assert {each.field.name for each in found.fields} >= {"AMOUNT", "HOUR", "score"}
    assert "no reference" not in card_of(run, tmp_path / "models")


def test_without_the_stream_the_card_says_why(
    work: TrainerWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise SettingsError("topic transactions: has no transaction of these days")

    monkeypatch.setattr(working, "read_stream", gone)
    run = proposed(work)
    assert not (tmp_path / "models" / "fraud" / "0.2.0" / REFERENCE).exists()
    told = "There is no reference for drift detection: topic transactions: has no transaction"
    assert told in card_of(run, tmp_path / "models")


def wider(folder: Path, *specs: FeatureSpec) -> str:
    file = folder / "wider.json"
    file.write_text(json.dumps(list(specs)))
    return str(file)


def test_a_version_may_have_other_features(
    writer: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = wider(tmp_path, *FEATURES, TOKYO)
    work = trainer(writer, tmp_path, monkeypatch, features=file)
    run = proposed(work)
    bundle = tmp_path / "models" / "fraud" / "0.2.0"
    assert [each["name"] for each in read_manifest(bundle).features] == ["AMOUNT", "HOUR", "TOKYO"]
    # The champion was scored with its own features: as if the challenger had the same.
    same = json.loads((bundle / GATE).read_text())
    assert same["rows"] == int((city()[0] >= (FIRST + DAYS - 2) * DAY).sum())
    assert run.label in writer.log.state.trained


def test_features_that_no_grant_has_end_the_run(
    writer: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = trainer(writer, tmp_path, monkeypatch, features=wider(tmp_path, TOKYO))
    run = BEGUN
    while run.step not in {"proposed", "failed"}:
        run = advance(run, work, lambda _: None)
    assert run.step == "failed"
    assert run.reason.startswith("after search: grant 2 does not have the feature set ")


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"model": "deep"}, "model 'deep': unknown kind"),
        ({"space": {"rate": [1]}}, "parameter rate: hist_gradient_boosting has none"),
    ],
)
def test_unknown_names_are_refused_before_any_run(
    rules: dict[str, Any], why: str, writer: Trained, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(SettingsError, match=why):
        trainer(writer, tmp_path, monkeypatch, **rules)


def test_a_bundle_is_written_to_a_store_at_a_url(
    writer: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(tmp_path / "models"), "/retrained", recursive=True)
    models = Models(url="memory://retrained", cache=tmp_path / "cache")
    try:
        work = trainer(writer, tmp_path, monkeypatch, models)
        run = proposed(work)
        store = open_store(models)
        assert [each.version for each in store.bundles()] == ["0.1.0", "0.2.0"]
        trust = Trust(required=True).with_granted(writer.log.state.trained)
        assert load_bundle(find(store, run.label), trust).reference is not None
        assert work.bundle(run) == run.digests["bundle"]
        files.pipe_file("/retrained/fraud/0.2.0/manifest.json", b"{}")
        with pytest.raises(ModelError, match="another one is in memory://retrained"):
            work.bundle(run)
    finally:
        files.rm("/retrained", recursive=True)


def test_versions_are_new_in_the_store_and_in_the_log(tmp_path: Path) -> None:
    write(tmp_path, "0.3.1", (AMOUNT,))
    store = FolderStore(tmp_path)
    assert next_version(store, frozenset({"fraud:0.1.0", "other:9.0.0"}), "fraud") == "0.4.0"
    assert next_version(store, frozenset({"fraud:1.0.0"}), "fraud") == "1.1.0"
    assert next_version(store, frozenset(), "new") == "0.1.0"
