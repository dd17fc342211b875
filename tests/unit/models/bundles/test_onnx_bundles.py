"""A bundle of an ONNX model: the same bits in any batch; refused in one line if altered."""

import json
import os
import shutil
import sys
import time
from dataclasses import replace as replace_fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import load_bundle, verify_again
from stream_scorer.models.bundles.read_files import LocalFolder
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.commands import report
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.models.commands.validate import refuse_broken, validate
from stream_scorer.models.importing.imported import ImportOptions, ModelSource
from stream_scorer.models.importing.onnx.read import read_onnx
from stream_scorer.models.predictors import onnx_session
from stream_scorer.models.predictors.onnx_session import OnnxModel, OnnxPredictor
from stream_scorer.settings import Models, Settings
from tests.support.imports.onnx_files import classifier, network
from tests.support.models.bundle_cases import FEATURES, ROWS, candidate_of, replace
from tests.support.models.onnx_bundles import HOSTILE, NETWORK, mixing, write

SECONDS_MOST = 10


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("store"))


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "store" / "fraud" / "1.0.0"))


def settings_of(bundle: Path) -> Settings:
    return Settings(models=Models(directory=bundle.parents[1]))


def refusal(bundle: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load_bundle(bundle)
    assert refused.value.fix
    message = str(refused.value)
    assert message.startswith("bundle ")
    assert message.isprintable()
    return message


def test_the_files_and_the_table_are_those_of_the_model(sound: Path) -> None:
    assert {path.name for path in sound.iterdir()} == {
        "manifest.json", "model.onnx", "original.onnx", "golden.json",
    }  # fmt: skip
    assert (sound / "original.onnx").read_bytes() == NETWORK
    assert (sound / "model.onnx").read_bytes() == NETWORK
    manifest = json.loads((sound / "manifest.json").read_text())
    table = manifest["onnx"]
    medians = np.median(ROWS, axis=0).tolist()
    assert table == {
        "input_name": "x", "double": False, "output_name": "p", "column": 0, "block_rows": 64,
        "reference": medians,
    }  # fmt: skip
    assert manifest["origin"] == {
        "library": "onnx", "version": "test 1.0", "file": "original.onnx",
    }  # fmt: skip
    assert manifest["parameters"]["depends_on"] == ""


@pytest.mark.parametrize(
    "data", [NETWORK, network(3, 4, columns=2, number_type=np.float64), network(3, 4, rows=8)]
)
def test_a_row_has_the_same_bits_in_any_batch_and_order(data: bytes, tmp_path: Path) -> None:
    predictor = load_bundle(write(tmp_path, data)).predictor
    scores = predictor.scores(ROWS)
    assert len(np.unique(scores)) > 300
    alone = np.concatenate([predictor.scores(row[None]) for row in ROWS])
    assert alone.tobytes() == scores.tobytes()
    for size in (3, 63, 65, 399):
        parts = [predictor.scores(ROWS[at : at + size]) for at in range(0, len(ROWS), size)]
        assert np.concatenate(parts).tobytes() == scores.tobytes()
    order = np.random.default_rng(5).permutation(len(ROWS))
    assert predictor.scores(ROWS[order]).tobytes() == scores[order].tobytes()
    again = load_bundle(tmp_path / "fraud" / "1.0.0").predictor
    assert again.scores(ROWS).tobytes() == scores.tobytes()
    read_only = ROWS.copy()
    read_only.flags.writeable = False
    assert predictor.scores(read_only[1:]).tobytes() == scores[1:].tobytes()


def test_attributions_of_a_loaded_bundle_add_up(sound: Path) -> None:
    predictor = load_bundle(sound).predictor
    found, base = predictor.attributions(ROWS)
    assert np.abs(found.sum(axis=1) + base - predictor.raw(ROWS)).max() <= 1e-9
    assert np.abs(found).max() > 0.01
    assert predictor.attributions(ROWS[7:8])[0].tobytes() == found[7:8].tobytes()


def test_a_model_that_mixes_rows_has_blocks_of_one_row(tmp_path: Path) -> None:
    bundle = load_bundle(write(tmp_path, mixing()))
    table = bundle.manifest.onnx
    assert table is not None
    assert (table.block_rows, bundle.manifest.parameters["depends_on"]) == (1, "its neighbours")
    scores = bundle.predictor.scores(ROWS)
    assert bundle.predictor.scores(ROWS[::-1]).tobytes() == scores[::-1].tobytes()


def test_the_original_keeps_the_zip_map_that_the_model_loses(tmp_path: Path) -> None:
    data, rows = classifier(), np.ascontiguousarray(ROWS[:, :2])
    source = ModelSource(read_onnx(data, ImportOptions(), rows), data, "onnx")
    made = replace_fields(candidate_of(source), features=FEATURES[:2])
    bundle = load_bundle(write_bundle(tmp_path, made, rows))
    folder = tmp_path / "fraud" / "1.0.0"
    assert (folder / "original.onnx").read_bytes() == data
    assert b"ZipMap" not in (folder / "model.onnx").read_bytes()
    table = bundle.manifest.onnx
    assert table is not None
    assert (table.output_name, table.column) == ("p", 1)
    expected = 1 / (1 + np.exp(-2 * rows.sum(axis=1)))
    assert np.abs(bundle.predictor.scores(rows) - expected).max() < 1e-6


@pytest.mark.parametrize("name", HOSTILE)
def test_each_altered_bundle_is_refused_in_one_line(name: str, bundle: Path) -> None:
    deed, why = HOSTILE[name]
    loaded = load_bundle(bundle)
    deed(bundle)
    began = time.process_time()
    assert why in refusal(bundle)
    assert time.process_time() - began < SECONDS_MOST
    with pytest.raises(ModelError):
        verify_again(loaded)


def test_one_other_bit_of_a_golden_row_is_refused(bundle: Path) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    golden["raw"][5] = golden["scores"][5] = float(np.nextafter(golden["raw"][5], 1))
    replace(bundle, "golden.json", json.dumps(golden).encode())
    message = refusal(bundle)
    assert "golden vectors: a raw score is off by" in message
    assert "the version of onnxruntime of its import" in message
    found = validate(settings_of(bundle), "fraud:1.0.0")
    assert (found.promise, found.raw_equal, found.rows) == ("bits", 63, 64)
    with pytest.raises(ModelError, match="1 of 64 golden rows have other bits, though the lib"):
        refuse_broken(found)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["parameters"]["onnxruntime"] = "1.99.0"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    found = validate(settings_of(bundle), "fraud:1.0.0")
    with pytest.raises(ModelError, match="the bundle was made with onnxruntime 1"):
        refuse_broken(found)


def test_the_commands_about_bundles_know_onnx(bundle: Path) -> None:
    settings = settings_of(bundle)
    assert report.verified(settings, "fraud")["model"] == "fraud:1.0.0"
    (entry,) = report.listed(settings)
    assert (entry["kind"], entry["refused"]) == ("onnx", None)
    rows = dict(report.as_rows(report.shown(settings, "fraud")))
    assert (rows["onnx.block_rows"], rows["onnx.input_name"]) == (64, "x")
    assert rows["onnx.reference AMOUNT"] == np.median(ROWS[:, 0])
    write(bundle.parents[1], mixing(), "1.1.0")
    document = report.compared(settings, "fraud:1.0.0", "fraud:1.1.0")
    assert document["onnx"] == {"block_rows": [64, 1]}
    assert ["onnx block_rows", 64, 1] in report.difference_rows(document)
    assert not document["same_decisions"]
    found = validate(settings, "fraud:1.0.0")
    assert found.raw_equal == found.scores_equal == found.rows
    assert found.made_with == {"onnxruntime": found.installed["onnxruntime"]}
    refuse_broken(found)
    with pytest.raises(ModelError, match="is of format 2 already"):
        upgrade(settings, "fraud:1.0.0", "2.0.0", None)


def test_each_file_is_read_once(bundle: Path) -> None:
    read: list[str] = []

    class Replaced(LocalFolder):
        """A folder whose files are replaced as soon as they are read."""

        def read(self, name: str, most: int, digest: str | None = None) -> bytes:
            data = super().read(name, most, digest)
            (self.path / name).write_bytes(b"replaced")
            read.append(name)
            return data

    scores = load_bundle(bundle).predictor.scores(ROWS)
    loaded = load_bundle(Replaced(bundle))
    assert sorted(read) == ["golden.json", "manifest.json", "model.onnx", "original.onnx"]
    assert loaded.predictor.scores(ROWS).tobytes() == scores.tobytes()


def test_without_the_runtime_the_line_names_the_extra(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "_runtime", onnx_session._runtime.__wrapped__)
    modules: dict[str, Any] = sys.modules
    monkeypatch.setitem(modules, "onnxruntime", None)
    assert refusal(sound) == (
        "bundle fraud:1.0.0: model.onnx: onnxruntime is not installed — "
        "install stream-scorer with its extra `onnx`"
    )
    monkeypatch.setitem(modules, "onnxruntime", SimpleNamespace(__version__="1.23.2"))
    assert "onnxruntime 1.23.2 is installed, 1.32 or newer is required" in refusal(sound)


def test_a_forked_process_may_not_use_the_session(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load_bundle(sound).predictor
    expected = predictor.scores(ROWS)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ModelError, match="loaded before this process was forked"):
        predictor.scores(ROWS)
    assert load_bundle(sound).predictor.scores(ROWS).tobytes() == expected.tobytes()


def test_a_model_that_is_too_slow_for_attributions_is_refused(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "ROW_SECONDS_MOST", 0.0)
    assert "model.onnx: the attributions of one row take 0.0 s, more than 0 s" in refusal(sound)


def test_more_features_than_attributions_have_memory_for() -> None:
    wide = np.zeros(onnx_session.FEATURES_MOST + 1)
    with pytest.raises(ModelError, match="a reference row of 2,049 features"):
        OnnxModel(b"", "x", double=False, output_name="p", column=0, block_rows=1, reference=wide)


def test_the_core_gets_the_model_of_the_bundle(sound: Path) -> None:
    bundle = load_bundle(sound)
    model = bundle.model(Plan())
    assert isinstance(model.predictor, OnnxPredictor)
    assert model.features.names == ("AMOUNT", "NIGHT", "COUNT")
    assert model.predictor is bundle.predictor
