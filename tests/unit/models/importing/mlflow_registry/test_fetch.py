"""Models of an MLflow server: which file is downloaded, and what is refused and when."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.importing.formats.known import source_of
from stream_scorer.models.importing.imported import ImportOptions, ModelSource
from stream_scorer.models.importing.mlflow_registry.fetch import FetchedModel, fetch
from stream_scorer.models.importing.mlflow_registry.flavors import MLMODEL_BYTES_MOST
from stream_scorer.models.importing.mlflow_registry.paths import inner_path
from stream_scorer.models.importing.mlflow_registry.reference import (
    ModelReference,
    read_reference,
)
from tests.support.mlflow.fake_mlflow import API, FILES, FakeServer, Registry, mlmodel

CHAMPION = read_reference("mlflow:models:/fraud@champion")
MOST = 1_000
LIGHTGBM = mlmodel(
    "lightgbm", data="model.lgb", lgb_version="4.7.0", model_class="lightgbm.Booster"
)
FILE = b"tree\nversion=v4\n"


def registry(mlmodel: bytes = LIGHTGBM, file: str = "model.lgb", **changes: Any) -> Registry:
    return Registry(files={"MLmodel": mlmodel, file: FILE}, **changes)


def fetched(found: Registry, reference: ModelReference = CHAMPION) -> FetchedModel:
    return fetch(found.server(), reference, MOST)


def test_an_alias_leads_to_one_file_and_the_version_behind_it() -> None:
    server = registry().server()
    found = fetch(server, CHAMPION, MOST)
    assert (found.data, found.path, found.library) == (FILE, "model.lgb", "lightgbm")
    origin = found.origin
    assert (origin.server, origin.asked) == ("https://mlflow.example", "models:/fraud@champion")
    assert (origin.parent_version, origin.run_id) == ("fraud/3", "r7")
    assert (origin.git_commit, origin.author) == ("0a1b2c3d", "ada")
    assert origin.data_sets == (("march", "d41d8c"),)
    folder = f"{FILES}/1/models/m-5/artifacts"
    assert server.asked == [
        f"{API}/registered-models/alias", f"{API}/model-versions/get-download-uri",
        f"{API}/runs/get", f"{folder}/MLmodel", f"{folder}/model.lgb",
    ]  # fmt: skip


def test_a_version_is_asked_for_by_its_number() -> None:
    found = fetched(registry(), read_reference("mlflow:models:/fraud/3"))
    assert found.origin.asked == "models:/fraud/3"
    numbered = registry(version={"name": "fraud", "version": 3, "run_id": ""})
    assert fetched(numbered).origin.parent_version == "fraud/3"


@pytest.mark.parametrize(
    ("flavor", "table", "library", "path"),
    [
        ("xgboost", {"data": "model.ubj"}, "xgboost", "model.ubj"),
        ("lightgbm", {"data": "model.lgb"}, "lightgbm", "model.lgb"),
        ("catboost", {"data": "model.cb", "save_format": "json"}, "catboost", "model.cb"),
        ("onnx", {"data": "model.onnx"}, "onnx", "model.onnx"),
        ("sklearn", {"pickled_model": "model.skops"}, "scikit_learn", "model.skops"),
        ("xgboost", {"data": "parts/my model.json"}, "xgboost", "parts/my model.json"),
    ],
)
def test_each_flavor_names_its_own_librarys_file(
    flavor: str, table: dict[str, str], library: str, path: str
) -> None:
    stored = path.replace(" ", "%20")
    found = fetched(registry(mlmodel(flavor, **table), stored))
    assert (found.library, found.path, found.data) == (library, path, FILE)


@pytest.mark.parametrize(
    ("flavor", "table", "named"),
    [
        (
            "sklearn",
            {"pickled_model": "model.pkl"},
            "a pickle, which is never loaded — log it with",
        ),
        (
            "sklearn",
            {"pickled_model": "model.skops", "serialization_format": "cloudpickle"},
            "is saved as a pickle",
        ),
        ("sklearn", {"pickled_model": "model"}, "is saved as a pickle"),
        ("lightgbm", {"data": "model.pkl"}, "a pickle, which is never loaded — log the booster"),
        ("xgboost", {"data": "MODEL.PKL"}, "is saved as a pickle"),
        (
            "pytorch",
            {"model_data": "data"},
            "not supported: pytorch, python_function — log it with",
        ),
        ("xgboost", {"dat": "model.ubj"}, "the flavor xgboost does not name its file"),
        ("xgboost", {"data": "[a, b]"}, "the flavor xgboost does not name its file"),
        ("xgboost", {"data": "../other/model.ubj"}, "names a file outside of its folder: ../other"),
        ("xgboost", {"data": "/etc/passwd"}, "names a file outside of its folder: /etc/passwd"),
        ("xgboost", {"data": "a/%2e%2e/b"}, "names a file outside of its folder"),
        ("xgboost", {"data": '"a\\u001b]0;x\\u0007"'}, r"outside of its folder: a\x1b]0;x\x07"),
    ],
)
def test_a_flavor_is_refused_before_its_file_is_asked_for(
    flavor: str, table: dict[str, str], named: str
) -> None:
    server = registry(mlmodel(flavor, **table)).server()
    with pytest.raises(ModelError) as refused:
        fetch(server, CHAMPION, MOST)
    assert named in str(refused.value)
    assert str(refused.value).isprintable()
    assert server.asked[-1].endswith("/MLmodel")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"flavors: {}\n", "it has no flavors"),
        (b"flavors: [xgboost]\n", "it has no flavors"),
        (b"- xgboost\n", "it is not a table"),
        (b"flavors: {a: b\n", "it is not YAML (ParserError)"),
        (b"\xff\xfe\x00", "it is not YAML (UnicodeDecodeError)"),
        (b"[" * 5_000, "it is not YAML (RecursionError)"),
        (b'flavors: "\\UFFFFFFFF"\n', "it is not YAML (OverflowError)"),
        (b"a: &a [x]\nb: &b [*a, *a]\nflavors: *c\n", "it is not YAML (ComposerError)"),
        (b"? {a: b}\n: c\n", "it is not YAML (ConstructorError)"),
        (b"#" * (MLMODEL_BYTES_MOST + 1), "larger than 262,144 bytes"),
    ],
)
def test_a_malformed_mlmodel_is_refused_in_one_line(data: bytes, named: str) -> None:
    with pytest.raises(ModelError) as refused:
        fetched(registry(data))
    assert named in str(refused.value)
    assert str(refused.value).isprintable()


def test_tags_of_yaml_make_no_objects() -> None:
    tagged = b"flavors:\n  lightgbm: !!python/object/apply:os.abort\n    data: !!float model.lgb\n"
    assert fetched(registry(tagged)).data == FILE


def test_a_library_that_is_a_table_of_aliases_stays_small() -> None:
    lines = ["l0: &l0 [x, x]"]
    lines += [f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 60)]
    bomb = "\n".join([*lines, "flavors: {lightgbm: {data: model.lgb}, other: *l59}"])
    assert fetched(registry(bomb.encode())).data == FILE


@pytest.mark.parametrize(
    "folder",
    [
        "file:///etc", "/etc", "s3://bucket/models", "http://mlflow.example/1/models",
        "mlflow-artifacts://other.example/1/models/m-5/artifacts",
        "mlflow-artifacts://ada@mlflow.example/1/models/m-5/artifacts",
        "mlflow-artifacts:/1/../../secret", "mlflow-artifacts:/", "mlflow-artifacts:/1/%2e%2e/x",
        "mlflow-artifacts:/1/a?x=1", "mlflow-artifacts:/1/\x1b[2J",
        "mlflow-artifacts:/" + "a" * 2000,
        "mlflow-artifacts://[/1", "",
    ],
)  # fmt: skip
def test_files_elsewhere_than_at_the_server_are_not_read(folder: str) -> None:
    server = registry(folder=folder).server()
    with pytest.raises(ModelError) as refused:
        fetch(server, CHAMPION, MOST)
    assert "its files are not at the server itself" in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500
    assert not any(each.startswith(FILES) for each in server.asked)


def test_the_servers_own_host_may_be_named() -> None:
    folder = "mlflow-artifacts://mlflow.example/1/models/m-5/artifacts"
    assert fetched(registry(folder=folder)).data == FILE


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ({"name": "other", "version": "3"}, "another model than the one that was asked for"),
        ({"name": "fraud", "version": "3/../4"}, "another model than"),
        ({"name": "fraud", "version": "9" * 11}, "another model than"),
        ({"name": "fraud", "version": ["3"]}, "another model than"),
        ({"name": "fraud", "version": "3", "status": "PENDING\n"}, r"has the status PENDING\n"),
    ],
)
def test_an_answer_that_is_about_another_version_is_refused(
    version: dict[str, Any], named: str
) -> None:
    with pytest.raises(ModelError) as refused:
        fetched(registry(version=version))
    assert named in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("folder", [None, 7, ["mlflow-artifacts:/1"]])
def test_a_version_without_a_place_is_malformed(folder: Any) -> None:
    with pytest.raises(ModelError, match="malformed answer: a version without artifact_uri"):
        fetched(registry(folder=folder))


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"a": NaN}', b"\xff", b'{"a":1,"a":2}', b'{"a":' * 30_000]
)
def test_an_answer_that_is_not_json_is_refused_in_one_line(body: bytes) -> None:
    server = registry().server()
    server.answer = lambda *_: body
    with pytest.raises(ModelError) as refused:
        fetch(server, CHAMPION, MOST)
    assert "sent a malformed answer: /api/2.0/mlflow/registered-models/alias" in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("reference", ["mlflow:models:/fraud@rival", "mlflow:models:/fraud/4"])
def test_a_model_that_is_not_there_is_named(reference: str) -> None:
    with pytest.raises(SettingsError) as missing:
        fetched(registry(), read_reference(reference))
    assert str(missing.value) == (
        f"model {reference}: the MLflow server https://mlflow.example does not have it — check the "
        "name, and the version or alias"
    )


def test_a_missing_or_large_file_is_refused() -> None:
    with pytest.raises(ModelError, match="MLmodel is not at the server"):
        fetched(Registry())
    with pytest.raises(ModelError, match=r"its file \S+/model\.lgb is not at the server"):
        fetched(Registry(files={"MLmodel": LIGHTGBM}))
    large = Registry(files={"MLmodel": LIGHTGBM, "model.lgb": b"x" * (MOST + 1)})
    with pytest.raises(ModelError, match="larger than 1,000 bytes"):
        fetched(large)


def test_a_deleted_run_leaves_its_fields_empty() -> None:
    origin = fetched(registry(run=None)).origin
    assert (origin.run_id, origin.git_commit, origin.author, origin.data_sets) == ("r7", "", "", ())
    server = registry(version={"name": "fraud", "version": "3"}).server()
    assert fetch(server, CHAMPION, MOST).origin.run_id == ""
    assert f"{API}/runs/get" not in server.asked


def test_texts_of_the_server_are_short_and_printable() -> None:
    bad = "\x1b]0;owned\x07\u202e" + "x" * 10_000
    run = {
        "info": {"user_id": bad}, "data": {"tags": [
            {"key": "mlflow.source.git.commit", "value": bad}, {"key": ["x"], "value": "y"}, "no",
        ]},
        "inputs": {"dataset_inputs": [{"dataset": {"name": bad, "digest": 7}}] * 1_000 + [3]},
    }  # fmt: skip
    origin = fetched(registry(run=run)).origin
    texts = [
        origin.git_commit,
        origin.author,
        *(text for each in origin.data_sets for text in each),
    ]
    assert all(text.isprintable() and len(text) <= 200 for text in texts)
    assert origin.author.startswith(r"\x1b]0;owned\x07\u202e")
    assert origin.author.endswith("...")
    assert origin.data_sets == ((origin.author, ""),) * 32
    odds: list[dict[str, Any]] = [
        {"data": 5}, {"data": {"tags": "mlflow.user"}}, {"inputs": [], "info": None},
    ]  # fmt: skip
    for odd in odds:
        assert fetched(registry(run=odd)).origin.author == ""


@pytest.mark.parametrize(
    "text",
    [
        "mlflow:fraud@champion", "mlflow:models:/fraud", "mlflow:models:/fraud/latest",
        "mlflow:models:/fraud/Production", "mlflow:models:/fraud@", "mlflow:models:/@champion",
        "mlflow:models:/a/b@champion", "mlflow:models:/fraud/0", "mlflow:models:/fraud/1@x",
        "mlflow:models://host/fraud/1", "mlflow:models:/fraud@a b", "mlflow:models:/a\x1b/1",
        "mlflow:runs:/r7/model", "mlflow:models:/" + "a" * 256 + "/1",
    ],
)  # fmt: skip
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write mlflow:models:/NAME@ALIAS"):
        read_reference(text)


def test_a_reference_is_written_as_it_was_read() -> None:
    for text in ("models:/fraud@champion", "models:/card fraud.v2/12"):
        assert str(read_reference(f"mlflow:{text}")) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a//b", "/a", "a/", "a/../b", "a\\b", "a\nb", "a#b"]
)
def test_a_path_stays_in_its_folder(text: str) -> None:
    assert inner_path(text) is None
    assert inner_path("a/b.ubj") == "a/b.ubj"


RECORDED = json.loads(Path(__file__).with_name("answers.json").read_text())
"""Answers of a real server, MLflow 3.17.2 on SQLite, as ``compare_mlflow`` records them."""


def replayed(reference: str) -> FetchedModel:
    answers = iter(RECORDED[reference])

    def answer(endpoint: str, parameters: Mapping[str, str]) -> bytes | None:
        found = next(answers)
        assert (found["endpoint"], found["parameters"]) == (endpoint, dict(parameters))
        body: str | None = found["body"]
        return None if body is None else body.encode("latin-1")

    found = fetch(FakeServer(answer), read_reference(f"mlflow:{reference}"), 10_000)
    assert next(answers, None) is None
    return found


def test_answers_of_a_real_server_lead_to_its_model() -> None:
    found = replayed("models:/fraud-lightgbm@champion")
    assert (found.path, found.library) == ("model.lgb", "lightgbm")
    origin = found.origin
    assert (origin.parent_version, origin.git_commit) == ("fraud-lightgbm/1", "0a1b2c3d")
    assert (origin.author, origin.data_sets) == ("ada", (("march", "dbeb40c2"),))
    source = source_of(found.data, found.path, ImportOptions())
    assert isinstance(source, ModelSource)
    assert source.imported.library == "lightgbm"
    assert source.imported.model.feature_count == 3


@pytest.mark.parametrize(
    "reference",
    ["models:/fraud-lightgbm@rival", "models:/fraud-lightgbm/9", "models:/nothing@champion"],
)
def test_a_real_servers_refusals_mean_that_it_has_no_model(reference: str) -> None:
    with pytest.raises(SettingsError, match="does not have it"):
        replayed(reference)


def test_the_import_does_not_load_mlflow_unless_asked() -> None:
    code = (
        "import sys\n"
        "import stream_scorer.models.importing.mlflow_registry.fetch\n"
        "assert not {'mlflow', 'yaml', 'requests'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 our own code
