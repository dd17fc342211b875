"""Model bundles that an attacker may put into the model store."""

import hashlib
import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from datetime import date
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from bench.hostile_cases.case import Bomb, Case, Place, cases, entry

_FEATURES: Final = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "NIGHT", "kind": "night"},
    {"name": "COUNT", "kind": "count", "window": "7d"},
)


def _rows() -> tuple[Any, Any]:
    numbers = np.random.default_rng(3)
    rows = numbers.normal(0, 1, (400, 3))
    return rows, (rows[:, 0] > 0.5).astype(np.int64)


def _linear() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def _histogram() -> Any:
    return HistGradientBoostingClassifier(max_iter=2, max_leaf_nodes=4, random_state=0)


def _written(store: Path, model: Any) -> Path:
    """Write a good bundle of format 1; return its folder."""
    if find_spec("stream_scorer.models.files") is not None:
        found_1: Path = entry("tests.support.models.format_1", "write_format_1")(store, model)
        return found_1
    made, writer = (
        entry("stream_scorer.models.bundles.bundle"),
        entry("stream_scorer.models.bundles.writer"),
    )
    rows, fraud = _rows()
    day = date(2018, 4, 1)
    period = made.Period(first_day=day, last_day=day, rows=400, frauds=100)
    quality = made.Quality(
        period=period, auc=0.9, average_precision=0.8, review_or_block_rate=0.1, block_rate=0.0
    )
    found: Path = writer.write_bundle(
        store,
        writer.Candidate(
            name="fraud", version="1.0.0", model=model.fit(rows, fraud), features=_FEATURES,
            thresholds=made.DecisionThresholds(review=0.5, block=0.9),
            training=made.Training(train=period, validation=quality, test=quality),
        ),
        rows,
    )  # fmt: skip
    return found


def _put(bundle: Path, name: str, data: bytes) -> None:
    """Put another file into a bundle, and its hash into the manifest."""
    (bundle / name).write_bytes(data)
    _say(bundle, lambda m: m["files"].update({name: hashlib.sha256(data).hexdigest()}))


def _say(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _loaded(change: Callable[[Path, Any], object], make: Callable[[], Any] = _linear) -> Any:
    """Load a bundle after a change; say what came of it, and whether anything in it was run."""

    def run(place: Place) -> str:
        warnings.simplefilter("ignore")
        model = make()
        bundle = _written(place.folder / "store", model)
        change(bundle, model)
        try:
            entry("stream_scorer.models.bundles.loader", "load_bundle")(bundle)
        finally:
            if (place.folder / "fired").exists():
                raise RuntimeError("what the bundle holds was run")
        return "loaded"

    return run


def _model(change: Callable[[Any], object], make: Callable[[], Any] = _linear) -> Any:
    """Load a bundle whose fitted model was changed."""

    def put(bundle: Path, model: Any) -> None:
        change(model)
        _put(bundle, "model.skops", skops.io.dumps(model))

    return _loaded(put, make)


def _members(add: Callable[[zipfile.ZipFile], object]) -> Any:
    """Load a bundle to whose model file further members were added."""

    def put(bundle: Path, _: Any) -> None:
        out = io.BytesIO((bundle / "model.skops").read_bytes())
        with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
            add(archive)
        _put(bundle, "model.skops", out.getvalue())

    return _loaded(put)


def _array(data: bytes) -> Any:
    """Load a bundle to whose model file an array was added."""
    return _members(lambda archive: archive.writestr("more.npy", data))


def _saved(array: Any, shown: bytes = b"", instead: bytes = b"") -> bytes:
    """Return an array as numpy writes it, some bytes of it changed."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue().replace(shown, instead, 1)


def _long_member(archive: zipfile.ZipFile) -> None:
    """Declare that the schema unpacks to 100 MB."""
    archive.writestr("more.npy", b"")  # the directory is written again
    archive.getinfo("schema.json").file_size = 100 << 20


def _behind(bundle: Path, _: Any) -> None:
    """Put a program in front of the model file: a zip is read from its end."""
    _put(bundle, "model.skops", b"#!/bin/sh\n" + (bundle / "model.skops").read_bytes())


def _untrusted(bundle: Path, _: Any) -> None:
    _put(bundle, "model.skops", skops.io.dumps(Fraction(1, 2)))


def _no_number(model: Any) -> None:
    model[-1].coef_ = np.full((1, 3), np.nan)


def _no_scale(model: Any) -> None:
    model[0].scale_ = np.zeros(3)


def _too_large(bundle: Path, _: Any) -> None:
    """Give the golden rows values whose sum is infinite."""
    rows = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    rows["features"] = [[1.7e308] * 3 for _ in rows["features"]]
    _put(bundle, "golden.json", json.dumps(rows).encode())


def _categories(model: Any) -> None:
    model.is_categorical_ = np.array([True, False, False])


def _few_coefficients(model: Any) -> None:
    model[-1].coef_ = model[-1].coef_[:, :1]


def _few_means(model: Any) -> None:
    model[0].mean_ = model[0].mean_[:1]


def _few_scales(model: Any) -> None:
    model[0].scale_ = model[0].scale_[:1]


def _no_intercept(model: Any) -> None:
    model[-1].intercept_ = np.empty(0)


def _matrix(model: Any) -> None:
    model[-1].coef_ = np.zeros((1, 3, 2))


def _texts(model: Any) -> None:
    model[-1].coef_ = np.array([["a", "b", "c"]])


def _many_features(model: Any) -> None:
    model[-1].n_features_in_ = 2**40


def _child(place: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        nodes = model._predictors[0][0].nodes  # noqa: SLF001 what the file holds
        nodes["left"][0] = place

    return change


def _split(model: Any) -> None:
    nodes = model._predictors[0][0].nodes  # noqa: SLF001 what the file holds
    nodes["feature_idx"][0] = 2**31 - 1


def _loop(model: Any) -> None:
    nodes = model._predictors[0][0].nodes  # noqa: SLF001 what the file holds
    nodes["left"][0] = 0


def _pickled(bundle: Path, _: Any) -> None:
    _put(bundle, "model.skops", pickle.dumps(Bomb(bundle.parents[2] / "fired")))


def _pipe(bundle: Path, _: Any) -> None:
    (bundle / "golden.json").unlink()
    os.mkfifo(bundle / "golden.json")


def _linked(bundle: Path, _: Any) -> None:
    (bundle / "model.skops").rename(bundle.parent / "elsewhere")
    (bundle / "model.skops").symlink_to(bundle.parent / "elsewhere")


def _long(bundle: Path, _: Any) -> None:
    with (bundle / "model.skops").open("r+b") as file:
        file.truncate(3 << 30)


def _text(text: Callable[[str], str]) -> Any:
    def put(bundle: Path, _: Any) -> None:
        path = bundle / "manifest.json"
        path.write_text(text(path.read_text(encoding="utf-8")), encoding="utf-8")

    return _loaded(put)


def _bomb_member(archive: zipfile.ZipFile) -> None:
    """Declare that a member of a few bytes unpacks to 4 GB."""
    archive.writestr("big.npy", b"\0" * 100)
    archive.infolist()[-1].file_size = 2**32 - 2


def _many_members(archive: zipfile.ZipFile) -> None:
    for number in range(70_000):
        archive.writestr(f"{number}.json", b"")


def _beside(more: list[dict[str, Any]]) -> Any:
    """Load a bundle whose model file has further objects, and an array of 8 MiB for them."""

    def put(bundle: Path, _: Any) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(bundle / "model.skops") as old, zipfile.ZipFile(out, "w") as new:
            schema = json.loads(old.read("schema.json"))
            new.writestr("schema.json", json.dumps(schema | {"more": more}))
            new.writestr("big.npy", _saved(np.zeros(2**20)))
            for name in set(old.namelist()) - {"schema.json"}:
                new.writestr(name, old.read(name))
        _put(bundle, "model.skops", out.getvalue())

    return _loaded(put)


_REFUSED: Final = "ModelError: bundle "
_SHAPE: Final = rf"{_REFUSED}(?!.*golden)(?!.*content hash)"

_MORE: Final = tuple(
    Case(f"bundle: {what}", 7, rule, _REFUSED, run, words=words)
    for what, rule, words, run in (
        ("a program in front of the model file", "files", "is not a skops file", _loaded(_behind)),
        ("a type that is not trusted", "types", "holds types that are not trusted",
         _loaded(_untrusted)),
        ("a text of 100 MB in the model file", "members", "schema.json has",
         _members(_long_member)),
        ("an array of a later format", "lengths", r"of version \(3, 0\)",
         _array(_saved(np.zeros(3), b"NUMPY\1", b"NUMPY\3"))),
        ("an array of objects", "lengths", "has the type object",
         _array(_saved(np.array([{}, None], dtype=object)))),
        ("an array of -3 numbers", "lengths", r"shape \(-3,\)",
         _array(_saved(np.zeros(3), b"(3,), ", b"(-3,),"))),
        ("an array of 9 numbers in the bytes of 3", "lengths", "does not have the length",
         _array(_saved(np.zeros(3), b"(3,)", b"(9,)"))),
        ("200 objects that name one array of 8 MiB", "members", "name over 512 MiB of arrays",
         _beside([{"__id__": 10**6 + n, "file": "big.npy"} for n in range(200)])),
        ("an object that is mentioned in part", "members", "is mentioned in part",
         _beside([{"__id__": 10**6, "inside": {}}, {"__id__": 10**6}])),
        ("coefficients that are no number", "finite", "coef_ holds no number", _model(_no_number)),
        ("a scale of 0", "finite", "holds a zero", _model(_no_scale)),
        ("a tree that splits on categories", "trees", "categorical features",
         _model(_categories, _histogram)),
    )
)  # fmt: skip

CASES: Final = (
    *_MORE,
    *cases(
        "bundle", 7,
        ("golden rows whose sum is infinite", "files", "ModelError: ", _loaded(_too_large),
         "missing or infinite"),
        ("one coefficient for three features", "shapes", _SHAPE, _model(_few_coefficients)),
        ("one mean for three features", "shapes", _SHAPE, _model(_few_means)),
        ("one scale for three features", "shapes", _SHAPE, _model(_few_scales)),
        ("no intercept", "shapes", _SHAPE, _model(_no_intercept)),
        ("coefficients in three dimensions", "shapes", _SHAPE, _model(_matrix)),
        ("coefficients that are texts", "shapes", _SHAPE, _model(_texts)),
        ("2^40 features", "shapes", _SHAPE, _model(_many_features)),
        ("a tree whose child is node 2^31 - 1", "trees", _SHAPE,
         _model(_child(2**31 - 1), _histogram)),
        ("a tree whose child is node 2^32 - 5", "trees", _SHAPE,
         _model(_child(2**32 - 5), _histogram)),
        ("a tree that asks for feature 2^31 - 1", "trees", _SHAPE, _model(_split, _histogram)),
        ("a tree that leads back to its root", "trees", _SHAPE, _model(_loop, _histogram)),
        ("70,000 members", "members", _REFUSED, _members(_many_members), "more than 20001 members"),
        ("a member that claims 4 GB", "members", _REFUSED, _members(_bomb_member),
         "unpacks to over 576 MiB"),
        ("a member that climbs out", "members", _REFUSED,
         _members(lambda a: a.writestr("../../fired.json", b"{}"))),
        ("a member twice", "members", _REFUSED,
         _members(lambda a: a.writestr("schema.json", b"{}")), "twice"),
        ("a pickle in the model's place", "members", _REFUSED, _loaded(_pickled)),
        ("a pipe in a file's place", "files", _REFUSED, _loaded(_pipe)),
        ("a model that is a link", "files", _REFUSED, _loaded(_linked)),
        ("a model of 3 GB", "files", _REFUSED, _loaded(_long)),
        ("a manifest nested 100,000 deep", "files", _REFUSED, _text(lambda _: '{"a":' * 100_000)),
        ("a threshold that is not a number", "files", _REFUSED,
         _text(lambda text: text.replace("0.5", "NaN", 1))),
        ("a decision tree, untouched", "files", "loaded",
         _loaded(lambda *_: None, lambda: DecisionTreeClassifier(random_state=0))),
    ),
)  # fmt: skip
