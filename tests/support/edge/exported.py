"""Exported folders of the shipped model, whose probabilities are made the same on every machine."""

import shutil
from pathlib import Path
from typing import Any

from stream_scorer.edge.export.order import ExportOrder, ExportReport
from stream_scorer.edge.export.run import export
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings

LABEL = "fraud:3.0.1"
POLICY = """
on_model_error = "BLOCK"
[default]
review = 0.2
block = 0.6
[[segment]]
when = {channel = ["ECOM", "MOTO"], amount_above = 50.0}
review = 0.1
block = 0.3
[[segment]]
when = {amount_below = 10.0, country = "FR"}
review = 0.5
block = 0.9
"""


def store_of(folder: Path) -> Path:
    """Return a new store with the shipped models, a policy, and fraud:1.0.1 for engine 3."""
    store = folder / "store"
    shutil.copytree(MODELS_DIRECTORY / "fraud", store / "fraud")
    upgrade(settings_of(store), "fraud:1.0.1", "3.0.1", None, 3)
    (store / "fraud" / "policy.toml").write_text(POLICY)
    return store


def upgraded(store: Path, *versions: str) -> Path:
    """Write versions of fraud:1.0.1 for engine 3 to a new store, without a plan; return it."""
    for version in versions:
        upgrade(Settings(), "fraud:1.0.1", version, store, 3)
    return store


def settings_of(store: Path) -> Settings:
    """Return settings whose models are in a folder."""
    return Settings(models=Models(directory=store))


def exported(store: Path, target: str, out: Path, **order: Any) -> ExportReport:
    """Export the model of :data:`LABEL`."""
    reference = order.pop("reference", LABEL)
    return export(settings_of(store), ExportOrder(reference, target, out, **order))
