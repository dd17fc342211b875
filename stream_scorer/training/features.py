"""The features to train on: the shipped list, or a file of declarations."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet, compile_features
from stream_scorer.core.features.engines import ENGINES, FIRST_ENGINE, engine_of
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.nesting import parse_toml

_WINDOWS = ("1d", "7d", "30d")


def _handbook() -> Iterator[FeatureSpec]:
    """Yield the handbook's features under their names there."""
    yield {"name": "TX_AMOUNT", "kind": "passthrough", "field": "amount"}
    yield {"name": "TX_DURING_WEEKEND", "kind": "weekend"}
    yield {"name": "TX_DURING_NIGHT", "kind": "night"}
    for window in _WINDOWS:
        name = f"CUSTOMER_ID_NB_TX_{window[:-1]}DAY_WINDOW"
        yield {"name": name, "kind": "count", "window": window}
    for window in _WINDOWS:
        name = f"CUSTOMER_ID_AVG_AMOUNT_{window[:-1]}DAY_WINDOW"
        yield {"name": name, "kind": "mean", "field": "amount", "window": window}
    for kind, told in (("count", "NB_TX"), ("risk", "RISK")):
        for window in _WINDOWS:
            name = f"TERMINAL_ID_{told}_{window[:-1]}DAY_WINDOW"
            yield {
                "name": name, "kind": kind, "key": "terminal_id", "delay": "7d", "window": window
            }  # fmt: skip


FEATURES: tuple[FeatureSpec, ...] = tuple(_handbook())
"""The handbook's fifteen features."""

CUSTOMER_FEATURES = FEATURES[:9]
"""Those that need neither terminals nor labels: the event's own and the customer's."""


def chosen_engine(asked: int | None, plan: Plan) -> int:
    """Return the engine of a new bundle.

    Args:
        asked: What ``--engine`` names; None: what the plan needs.
        plan: The plan under which the model is made.

    Raises:
        SettingsError: There is no such engine.
    """
    if asked is None:
        return engine_of(plan)
    if asked not in ENGINES:
        raise SettingsError(
            f"--engine {asked}: not an engine", f"known are {', '.join(map(str, ENGINES))}"
        )
    return asked


def read_features(
    path: Path | None, plan: Plan, engine: int = FIRST_ENGINE
) -> tuple[tuple[FeatureSpec, ...], FeatureSet]:
    """Return declarations in column order, and what they compile to.

    Args:
        path: ``*.toml`` with tables ``[[features]]``, or ``*.json`` with a list of tables or an
            object that has it under ``features``, as a bundle's manifest does. None for
            :data:`FEATURES`.
        plan: The plan for which the features are compiled.
        engine: Number of the engine, which fixes what they mean.

    Raises:
        SettingsError: The file cannot be read or has another structure, or a feature is refused.
    """
    specs = FEATURES if path is None else _listed(path)
    source = "the default features" if path is None else f"features {path}"
    try:
        return specs, compile_features(specs, plan, engine)
    except ValueError as error:
        raise SettingsError(f"{source}: {error}", "docs/FEATURES.md lists the kinds") from None


def _listed(path: Path) -> tuple[FeatureSpec, ...]:
    readers: dict[str, Callable[[str], Any]] = {".toml": parse_toml, ".json": json.loads}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise SettingsError(f"features {path}: unknown kind of file", "name it .toml or .json")
    try:
        document: Any = read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"features {path}: cannot be read ({error.strerror})", "name a file"
        ) from error
    except (ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"features {path}: {what}", f"make it sound {path.suffix}") from None
    listed = document.get("features") if isinstance(document, dict) else document
    if not isinstance(listed, list) or not listed or not all(type(s) is dict for s in listed):
        raise SettingsError(
            f"features {path}: holds no list of features",
            "write [[features]] tables (TOML), or a list of objects (JSON)",
        )
    return tuple(listed)
