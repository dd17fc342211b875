"""Finds the importer of a model file by its content, and refuses other files by name.

A file's name is not enough: three libraries write ``.json``. Only the beginning of a file is looked
at here. What follows is checked by the importer. An ONNX file is judged first, and becomes a model
only when there are rows to measure its blocks with.
"""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, ModelSource
from stream_scorer.models.importing.lightgbm.read import read_lightgbm
from stream_scorer.models.importing.onnx.read import JudgedOnnx, judge_onnx
from stream_scorer.models.importing.scikit_learn.read import read_scikit_learn
from stream_scorer.models.importing.xgboost.read import read_xgboost

BYTES_MOST: Final = 512 * 1024 * 1024
"""Maximum bytes of a model file."""

_FIRST_KEY: Final = re.compile(rb'\s*\{\s*"(\w{1,40})"\s*:')


@dataclass(frozen=True, slots=True)
class ModelFormat:
    """A format that can be imported.

    Attributes:
        library: The library that writes it.
        ending: The ending of the file in a bundle.
        matches: Whether a file that begins with these bytes has this format.
        read: The importer.
    """

    library: str
    ending: str
    matches: Callable[[bytes], bool]
    read: Callable[[bytes, ImportOptions], ImportedModel | JudgedOnnx]


def first_key(*names: bytes) -> Callable[[bytes], bool]:
    """Return whether a file is a JSON object whose first key is one of some names."""

    def matches(start: bytes) -> bool:
        found = _FIRST_KEY.match(start)
        return found is not None and found[1] in names

    return matches


def first_bytes(*starts: bytes) -> Callable[[bytes], bool]:
    """Return whether a file begins with one of some bytes."""
    return lambda start: start.startswith(starts)


def first_onnx_field(start: bytes) -> bool:
    """Return whether a file begins as an ONNX file: with the version of its format, a number."""
    return start[:1] == b"\x08" and start[1:2].isascii() and len(start) > 1


FORMATS: Final = (
    ModelFormat("catboost", "json", first_key(b"ctr_data", b"features_info"), read_catboost),
    ModelFormat("lightgbm", "txt", first_bytes(b"tree\n", b"tree\r"), read_lightgbm),
    ModelFormat("onnx", "onnx", first_onnx_field, judge_onnx),
    ModelFormat("scikit_learn", "skops", first_bytes(b"PK\x03\x04"), read_scikit_learn),
    ModelFormat("xgboost", "json", first_key(b"learner", b"version"), read_xgboost),
    ModelFormat("xgboost", "ubj", first_bytes(b"{L", b"{i", b"{U", b"{I", b"{l"), read_xgboost),
)
"""The known formats, one line for each."""

_REFUSED: Final = (
    (
        first_bytes(b"\x80"), "a pickle or joblib file",
        "save a model of scikit-learn with skops, others as docs/IMPORTING.md states",
    ),
    (first_bytes(b"CBM1"), "CatBoost's binary format", "save the model with format='json'"),
    (first_bytes(b"binf", b"bs64"), "XGBoost's old binary format", "save the model as .json"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """A judged ONNX file, which has to be measured before it is a model.

    Attributes:
        shown: The file, for messages.
        judged: What it states.
    """

    shown: str
    judged: JudgedOnnx

    def measured(self, rows: NDArray[np.float64]) -> ModelSource:
        """Return the model, run in blocks whose size is measured.

        Args:
            rows: float64[n, m], features of the validation data.

        Raises:
            ModelError: ONNX Runtime refuses it, or it does not fit the rows or gives no
                probability; the message names the cause.
        """
        try:
            return ModelSource(self.judged.measured(rows), self.judged.data, "onnx")
        except ModelError as error:
            raise _refusal(self.shown, error) from None


def read_source(path: Path, options: ImportOptions) -> ModelSource | OnnxSource:
    """Return the model in a file, or an ONNX file that is to be measured.

    Args:
        path: The file.
        options: What the file alone does not decide.

    Raises:
        ModelError: It is too large, of an unknown format, malformed, or holds something that is not
            supported; the message names it.
        SettingsError: It cannot be read.
    """
    return source_of(_read(path), str(path), options)


def source_of(data: bytes, shown: str, options: ImportOptions) -> ModelSource | OnnxSource:
    """Return the model in the bytes of a file, or an ONNX file that is to be measured.

    Args:
        data: At most :data:`BYTES_MOST`.
        shown: The file, for messages.
        options: What the file alone does not decide.

    Raises:
        ModelError: As for :func:`read_source`.
    """
    start = data[:1024]
    for known in FORMATS:
        if known.matches(start):
            try:
                found = known.read(data, options)
            except ModelError as error:
                raise _refusal(shown, error) from None
            if isinstance(found, JudgedOnnx):
                return OnnxSource(shown, found)
            return ModelSource(found, data, known.ending)
    for refused, what, fix in _REFUSED:
        if refused(start):
            raise ModelError(f"model {shown}: {what} is not supported", fix)
    libraries = ", ".join(sorted({known.library for known in FORMATS}))
    raise ModelError(
        f"model {shown}: not a model file of a known format", f"known are files of {libraries}"
    )


def _refusal(shown: str, error: ModelError) -> ModelError:
    """Return an importer's error with the name of the file."""
    what = error.what
    for prefix in ("model: ", "ONNX file: ", "ONNX model: "):
        what = what.removeprefix(prefix)
    return ModelError(f"model {shown}: {what}", error.fix)


def _read(path: Path) -> bytes:
    try:
        # A pipe without a writer would block.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"model {path}: is not a regular file", "name a model file")
        with path.open("rb") as file:
            data = file.read(BYTES_MOST + 1)
    except OSError as error:
        raise SettingsError(
            f"model {path}: cannot be read ({error.strerror})", "name a model file"
        ) from error
    if len(data) > BYTES_MOST:
        raise ModelError(f"model {path}: is larger than 512 MiB", "import a smaller model")
    return data
