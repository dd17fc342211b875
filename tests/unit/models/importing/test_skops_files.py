"""Skops files that an import refuses: in one line, by name, and before they take memory."""

import json
import resource
import time
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.formats.known import source_of
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, ModelSource
from stream_scorer.models.importing.scikit_learn import schema as schemas
from stream_scorer.models.importing.scikit_learn import unpack as unpacking
from stream_scorer.models.importing.scikit_learn.guard import refused_as
from stream_scorer.models.importing.scikit_learn.unpack import unpack
from tests.support.models.skops_schema import with_schema

SCALER = {
    "__class__": "StandardScaler", "__module__": "sklearn.preprocessing._data",
    "__loader__": "ObjectNode",
}  # fmt: skip
"""An estimator without parameters, which scikit-learn cannot print."""
ROWS = np.random.default_rng(3).normal(0, 1, (200, 3))
FRAUD = (ROWS[:, 0] > 0.3).astype(np.int64)
CONTENT = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "is_json": True}


def read(data: bytes) -> ImportedModel:
    found = source_of(data, "m.skops", ImportOptions())
    assert isinstance(found, ModelSource)
    assert isinstance(found.imported, ImportedModel)
    return found.imported


def refusal(data: bytes) -> str:
    with pytest.raises(ModelError) as refused:
        read(data)
    message = str(refused.value)
    assert message.startswith("model m.skops: ")
    assert "\n" not in message
    assert "trusted_types" not in message
    assert "stream-scorer train" not in message
    assert refused.value.fix
    return message


def skops_file(schema: bytes, compression: int = zipfile.ZIP_DEFLATED, **arrays: bytes) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("schema.json", schema)
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


@cache
def regression() -> bytes:
    frame = pd.DataFrame(ROWS, columns=["A", "B", "C"])
    return skops.io.dumps(LogisticRegression().fit(frame, FRAUD))


def changed(change: Callable[[bytes], bytes], data: bytes | None = None) -> bytes:
    """Return a regression's file with another schema."""
    return with_schema(data or regression(), change)


def with_attribute(name: str, value: Any) -> bytes:
    def change(text: bytes) -> bytes:
        schema = json.loads(text)
        schema["content"]["content"][name] = CONTENT | {"content": json.dumps(value)}
        return json.dumps(schema).encode()

    return changed(change)


def without_attribute(name: str, model: Any) -> bytes:
    def change(text: bytes) -> bytes:
        schema = json.loads(text)
        del schema["content"]["content"][name]
        return json.dumps(schema).encode()

    return changed(change, skops.io.dumps(model.fit(ROWS, FRAUD)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a":[' + b"{}," * (21 << 20) + b"{}]}", "more than 200000 objects"),
        (b"[" * 200_001, "more than 200000 objects"),
        (b'{"a":"' + b"[{}," * 100_000 + b'"}', "more than 200000 objects"),
        (b"[" + b"1," * (31 << 20) + b"1]", "more than 1000000 values"),
        (b'["FunctionNode"' + b',"FunctionNode"' * 20_000 + b"]", "20000 estimators and functions"),
        (b'["ObjectNode"' + b',"ObjectNode"' * 20_000 + b"]", "20000 estimators and functions"),
        (b'["' + b"a" * (17 << 20) + b'\\ud83d\\ude00"]', "bytes with other characters"),
        (b'["' + b"a" * (33 << 20) + b'\\u00e9"]', "bytes with other characters"),
        (b'["\\u005b"]', "writes ASCII characters as escapes"),
        (b" " * ((64 << 20) + 1), "has 67108865 bytes"),
    ],
)
def test_a_large_schema_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch, text: bytes, message: str
) -> None:
    def parse(_: Any) -> None:
        pytest.fail("it was parsed before it was counted")

    data = skops_file(text)
    monkeypatch.setattr(json, "loads", parse)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert message in refusal(data)
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_schema_in_another_encoding_is_refused(encoding: str) -> None:
    data = changed(lambda text: json.dumps(json.loads(text)).encode(encoding))
    assert "schema.json is not ASCII" in refusal(data)


def test_a_schema_with_surrogates_is_refused() -> None:
    data = changed(lambda text: text.replace(b'"builtins"', b'"\xed\xa0\x80"'))
    assert "schema.json is not ASCII" in refusal(data)


def random_numbers(pool: str, first: str | None = None) -> bytes:
    size = CONTENT | {"content": pool, "__id__": 9}
    earlier = [size | {"content": first}] if first else []
    return json.dumps([*earlier, {"content": {"pool_size": size}}]).encode()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (random_numbers("100000000"), "another pool_size than 4"),
        (random_numbers("4", "100000000"), "the object 9 is mentioned in part"),
        (b'[{"pool_size": 4}]', "another pool_size than 4"),
        (b'[{"__loader__": "BytesNode", "file": "a.npy"}]', "bytes that are not an array"),
        (b'[{"__loader__": "BytearrayNode", "file": "a.npy"}]', "bytes that are not an array"),
        (json.dumps([{"file": "a.npy"}] * 20_001).encode(), "more than 20000 arrays"),
    ],
)
def test_objects_that_grow_are_refused(schema: bytes, message: str) -> None:
    assert message in refusal(skops_file(schema))


def test_headers_of_arrays_are_short() -> None:
    out = BytesIO()
    names = [(f"a_long_name_of_a_field_{number}", "<f8") for number in range(60)]
    np.save(out, np.zeros(0, names))
    assert "cannot be loaded (ValueError: Header" in refusal(skops_file(b"{}", a=out.getvalue()))


def test_all_headers_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_HEADERS_MOST", 255)
    out = BytesIO()
    np.save(out, np.zeros(0))
    data = skops_file(b"{}", a=out.getvalue(), b=out.getvalue())
    assert "the headers of its arrays are too long" in refusal(data)


def test_a_member_occurs_once() -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("schema.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("schema.json", b"{}")
    assert "the skops file holds 'schema.json' twice" in refusal(out.getvalue())


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(compression: int) -> None:
    data = skops.io.dumps(LogisticRegression().fit(ROWS, FRAUD), compression=compression)
    assert f"is compressed by method {compression}" in refusal(data)


def no_number(column: Any) -> float:
    """Impute with a function of the user's own."""
    return float(len(column))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]),
            "HistGradientBoostingClassifier with categorical features is not supported — train it",
        ),
        (
            make_pipeline(
                SimpleImputer(),
                HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]),
            ),
            "HistGradientBoostingClassifier with categorical features is not supported",
        ),
        (
            VotingClassifier([("a", LogisticRegression())]),
            "VotingClassifier is not supported — known are HistGradientBoostingClassifier; ",
        ),
        (StackingClassifier([("a", LogisticRegression())]), "StackingClassifier is not supported"),
        (
            make_pipeline(SelectKBest(k=2), RandomForestClassifier(2)),
            "SelectKBest is not supported",
        ),
        (
            CalibratedClassifierCV(LogisticRegression(), method="temperature", cv=2),
            "CalibratedClassifierCV with the method 'temperature' is not supported — calibrate",
        ),
        (
            make_pipeline(SimpleImputer(strategy=no_number), LogisticRegression()),
            "it holds a type that no supported model has: ",
        ),
    ],
)
def test_what_no_import_supports_is_refused_by_name(model: Any, message: str) -> None:
    rows = np.column_stack([np.arange(200) % 5, ROWS])
    assert message in refusal(skops.io.dumps(model.fit(rows, FRAUD)))


def test_a_function_of_the_system_is_not_to_be_trusted() -> None:
    def change(text: bytes) -> bytes:
        return text.replace(b'"LogisticRegression"', b'"system"').replace(
            b'"sklearn.linear_model._logistic"', b'"posix"'
        )

    assert "a type that no supported model has: posix.system" in refusal(
        changed(change, skops.io.dumps(LogisticRegression))
    )


def test_the_first_unknown_types_are_shown_in_one_line() -> None:
    nodes = [
        {"__class__": f"a\n{number}", "__module__": "m", "__loader__": "ObjectNode"}
        for number in range(7)
    ]
    top = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
    schema = top | {"content": nodes, "protocol": 2, "_skops_version": "0.16.0"}
    message = refusal(skops_file(json.dumps(schema).encode()))
    assert "has: m.a 0, m.a 1, m.a 2, m.a 3, m.a 4, and 2 more — " in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("feature_names_in_", 5, "its feature_names_in_ is not a list"),
        ("feature_names_in_", ["a"] * 9, "9 feature names for 3 features"),
        ("n_features_in_", [], "this LogisticRegression does not hold what a fitted one does"),
        ("classes_", {}, "knows one class"),
    ],
)
def test_strange_attributes_are_refused_in_one_line(name: str, value: Any, message: str) -> None:
    assert message in refusal(with_attribute(name, value))


def test_a_parameter_without_a_text_is_refused_in_one_line() -> None:
    def change(text: bytes) -> bytes:
        schema = json.loads(text)
        schema["content"]["content"]["class_weight"] = SCALER
        return json.dumps(schema).encode()

    assert "holds what a fitted model does not (AttributeError: " in refusal(changed(change))


def test_a_version_nested_too_deeply_is_not_known() -> None:
    def change(text: bytes) -> bytes:
        deep = {"_sklearn_version": {"content": "[" * 100_000}}
        return json.dumps({"more": deep, **json.loads(text)}).encode()

    # It counts as the first version in the file.
    assert read(changed(change)).library_version == ""


@pytest.mark.parametrize(
    ("model", "name", "default"),
    [
        (RandomForestClassifier(2), "monotonic_cst", None),
        (LogisticRegression(tol=0.5), "tol", 1e-4),
    ],
)
def test_a_missing_parameter_has_its_default(model: Any, name: str, default: Any) -> None:
    """Versions of scikit-learn that did not have the parameter computed as with its default."""
    assert read(without_attribute(name, model)).parameters[name] == default


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (10**4_200, "1" + "0" * 199),
        (-(10**30), "-1" + "0" * 30),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (2**53, 2**53),
        ("a" * 300, "a" * 200),
    ],
)
def test_parameters_are_short(value: Any, written: Any) -> None:
    assert read(with_attribute("C", value)).parameters["C"] == written


@pytest.mark.parametrize("error", [KeyError("a\nb"), RecursionError("deep"), AttributeError("x")])
def test_any_error_of_a_value_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(ModelError, match=rf"^it \({type(error).__name__}: .*\) — fix it$"),
        refused_as("it", "fix it"),
    ):
        raise error


@pytest.mark.parametrize("error", [MemoryError(), OSError("disk"), ModelError("ours", "fix")])
def test_errors_of_the_machine_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, refused_as("it", "fix it"):
        raise error
    assert raised.value is error


def test_only_bundles_of_format_1_name_the_setting() -> None:
    data = skops.io.dumps(SimpleNamespace)
    with pytest.raises(ModelError, match=r"m\.skops holds types that are not trusted: types\."):
        unpack(data, "m.skops")


def test_the_limits_have_room_for_a_thousand_trees() -> None:
    """The schema of a forest grows by the same text for each tree."""
    found = [
        zipfile.ZipFile(
            BytesIO(skops.io.dumps(RandomForestClassifier(trees, max_depth=2).fit(ROWS, FRAUD)))
        ).read("schema.json")
        for trees in (10, 30)
    ]
    for count, most in (
        (len, schemas.CHARACTERS_MOST),
        (lambda text: text.count(b"{") + text.count(b"["), schemas.OBJECTS_MOST),
        (lambda text: text.count(b","), schemas.VALUES_MOST),
        (lambda text: text.count(b'"ObjectNode"'), schemas.LARGE_OBJECTS_MOST),
    ):
        few, many = map(count, found)
        assert few + 990 * (many - few) / 20 < most / 2
