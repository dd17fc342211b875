"""A model file is recognised by its content; other files are refused by name."""

import json
import os
import pickle
from pathlib import Path

import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import ORIGINALS
from stream_scorer.models.importing.formats import known
from stream_scorer.models.importing.formats.known import (
    FORMATS,
    OnnxSource,
    first_bytes,
    first_key,
    read_source,
)
from stream_scorer.models.importing.imported import ImportedOnnx, ImportOptions, ModelSource
from tests.support.imports.onnx_files import network
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS

NONE = ImportOptions()


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ModelError) as refused:
        read_source(path, NONE)
    message = str(refused.value)
    assert message.startswith(f"model {path}: ")
    assert message.isprintable()
    return message.removeprefix(f"model {path}: ")


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    data = skops.io.dumps(MODELS["decision_tree"].fit(ROWS, FRAUD))
    path = tmp_path / "model.json"
    path.write_bytes(data)
    found = read_source(path, NONE)
    assert isinstance(found, ModelSource)
    assert found.imported.library == "scikit_learn"
    assert (found.original, found.ending, found.scores) == (data, "skops", None)


def test_an_onnx_file_becomes_a_model_only_with_rows(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(network(3, 4))
    judged = read_source(path, NONE)
    assert isinstance(judged, OnnxSource)
    found = judged.measured(ROWS)
    assert isinstance(found.imported, ImportedOnnx)
    assert (found.imported.library, found.ending) == ("onnx", "onnx")
    assert found.original == path.read_bytes()
    with pytest.raises(ModelError, match=f"^model {path}: it takes 3 features"):
        judged.measured(ROWS[:, :2])
    assert refusal(path, b"\x08\x08\xff").startswith("the model ends inside a number")
    assert refusal(path, b"\x08").startswith("not a model file of a known format")


def test_every_format_has_a_file_in_a_bundle() -> None:
    for each in FORMATS:
        assert each.ending in ORIGINALS[each.library]


def test_the_first_key_decides_for_json() -> None:
    matches = first_key(b"learner", b"version")
    assert matches(b'{"learner": {}}')
    assert matches(b' \n{\n  "version" : [3, 0, 1]')
    assert not matches(b'{"model": "learner"}')
    assert not matches(b'[{"learner": {}}]')
    assert not matches(b"{")
    assert first_bytes(b"tree\n", b"tree\r")(b"tree\nversion=v4")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a model file of a known format"),
        (b"tree", "not a model file of a known format"),
        (pickle.dumps(LogisticRegression()), "a pickle or joblib file is not supported"),
        (b"CBM1\0\0\0\0", "CatBoost's binary format is not supported"),
        (b"binf\0\0", "XGBoost's old binary format is not supported"),
        (json.dumps({"unknown": 1}).encode(), "not a model file of a known format"),
        (b"PK\x03\x04" + bytes(90), "the skops file is not a skops file"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    assert refusal(tmp_path / "model", data).startswith(message)


def test_what_an_importer_refuses_names_the_file(tmp_path: Path) -> None:
    data = skops.io.dumps(LogisticRegression())
    assert refusal(tmp_path / "m.skops", data).startswith("this LogisticRegression is not fitted")


def test_large_and_missing_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "BYTES_MOST", 10)
    assert refusal(tmp_path / "m", bytes(11)) == "is larger than 512 MiB — import a smaller model"
    with pytest.raises(SettingsError, match="cannot be read"):
        read_source(tmp_path / "nowhere", NONE)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(SettingsError, match="is not a regular file"):
            read_source(other, NONE)
