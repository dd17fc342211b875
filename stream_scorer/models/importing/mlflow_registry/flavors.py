"""``MLmodel``: the list of forms, *flavors*, in which a model is saved, and which one is imported.

A flavor names the file that the model's own library wrote. No other file is read: not the pickle
of ``python_function``, not the code and not the requirements that are next to it.
"""

from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.mlflow_registry.documents import shortened, table_in
from stream_scorer.models.importing.mlflow_registry.paths import inner_path

MLMODEL: Final = "MLmodel"
MLMODEL_BYTES_MOST: Final = 256 * 1024
"""Maximum bytes of ``MLmodel``."""
_FLAVORS_NAMED: Final = 10
"""Maximum number of flavors that an error names."""
_PICKLES: Final = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".bin")
_PICKLED: Final = frozenset({"pickle", "cloudpickle", "joblib", "dill"})


@dataclass(frozen=True, slots=True)
class _Flavor:
    """A flavor that can be imported.

    Attributes:
        name: In ``MLmodel``.
        library: Of the importer; a file of another library is refused.
        key: The key of the file's path.
        instead: What to do if the file is a pickle.
    """

    name: str
    library: str
    key: str
    instead: str


_KNOWN: Final = (
    _Flavor("xgboost", "xgboost", "data", "log the booster: model.get_booster()"),
    _Flavor("lightgbm", "lightgbm", "data", "log the booster: model.booster_"),
    _Flavor("catboost", "catboost", "data", "log it with format='json'"),
    _Flavor("onnx", "onnx", "data", "log an ONNX model"),
    _Flavor("sklearn", "scikit_learn", "pickled_model", "log it with serialization_format='skops'"),
)


@dataclass(frozen=True, slots=True)
class NativeFile:
    """The file that a model's own library wrote.

    Attributes:
        library: The library, as an importer names it.
        path: The file's path in the folder of the model.
    """

    library: str
    path: str


def find_native_file(mlmodel: bytes, shown: str) -> NativeFile:
    """Return the file to import.

    Args:
        mlmodel: The file ``MLmodel``.
        shown: The model, for messages.

    Raises:
        ModelError: The file is not an ``MLmodel``, none of its flavors is supported, the flavor is
            a pickle, or its path leads out of the folder.
    """
    flavors = table_in(_parsed(mlmodel, shown), "flavors")
    if not flavors:
        raise _not_an_mlmodel(shown, "it has no flavors")
    for known in _KNOWN:
        if known.name in flavors:
            return _native(known, table_in(flavors, known.name), shown)
    names = [shortened(str(name)) for name in list(flavors)[:_FLAVORS_NAMED]]
    supported = ", ".join(known.name for known in _KNOWN)
    raise ModelError(
        f"model {shown}: its flavors are not supported: {', '.join(names)}",
        f"log it with one of {supported}",
    )


def _native(known: _Flavor, table: dict[str, Any], shown: str) -> NativeFile:
    given = table.get(known.key)
    if not isinstance(given, str):
        raise ModelError(
            f"model {shown}: the flavor {known.name} does not name its file", "log it again"
        )
    # Before anything is downloaded; the importer judges the bytes again.
    saved = table.get("serialization_format")
    pickled = given.lower().endswith(_PICKLES) or saved in _PICKLED
    if pickled or (known.name == "sklearn" and not given.endswith(".skops")):
        raise ModelError(
            f"model {shown}: the flavor {known.name} is saved as a pickle, which is never loaded",
            known.instead,
        )
    path = inner_path(given)
    if path is None:
        raise ModelError(
            f"model {shown}: the flavor {known.name} names a file outside of its folder: "
            f"{shortened(given)}",
            "do not use this model",
        )
    return NativeFile(known.library, path)


def _parsed(data: bytes, shown: str) -> dict[str, Any]:
    """Return the document with texts in place of all numbers, dates and booleans."""
    import yaml  # noqa: PLC0415 it comes with the extra mlflow

    try:
        # The base loader makes tables, lists and texts only, whatever tags the file has. The loader
        # in C would recurse on the machine's stack, without a limit for nested lists.
        document = yaml.load(data.decode("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 see above
    except (ArithmeticError, RecursionError, ValueError, yaml.YAMLError) as error:
        kind = type(error).__name__
        raise _not_an_mlmodel(shown, f"it is not YAML ({kind})") from None
    if not isinstance(document, dict):
        raise _not_an_mlmodel(shown, "it is not a table")
    return document


def _not_an_mlmodel(shown: str, why: str) -> ModelError:
    return ModelError(f"model {shown}: its file {MLMODEL} is malformed: {why}", "log it again")
