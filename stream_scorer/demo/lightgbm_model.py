"""The demo's LightGBM model: trained on days before those that are sent, imported as users do."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.demo.city import DAY_MS, known_days
from stream_scorer.errors import SettingsError
from stream_scorer.models.commands.import_model import ImportJob, import_model
from stream_scorer.models.commands.reference import BundleReferenceJob, add_reference
from stream_scorer.models.stores.deployment import plan_files
from stream_scorer.models.stores.new_plan import place
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.days import Days
from stream_scorer.training.features import read_features
from stream_scorer.training.labelled import LabelledData

_SHIPPED: Final = MODELS_DIRECTORY / "fraud"
_FEATURES: Final = _SHIPPED / "1.1.1" / "manifest.json"
_NAME: Final = "demo"
_VERSION: Final = "1.0.0"
_REFERENCED: Final = "1.0.1"
"""The same model with a reference of drift detection."""
_DAYS: Final = 45
_VALIDATION_DAYS: Final = 7
_ROUNDS: Final = 100
_OPTIONS: Final[dict[str, Any]] = {
    "objective": "binary", "learning_rate": 0.05, "seed": 1, "deterministic": True,
    "num_threads": 1, "verbosity": -1,
}  # fmt: skip


def write_lightgbm_model(store: Path) -> str:
    """Train a LightGBM model on simulated history, import it, and add its reference.

    It has the features of the shipped ``fraud:1.1.1``. The last seven days of the history choose
    its thresholds and give the reference of its scores; the model is fitted on the days before.

    Args:
        store: A folder; created if it does not exist.

    Returns:
        NAME:VERSION of the bundle.

    Raises:
        SettingsError: LightGBM is not installed.
        ModelError: The store cannot be written.
    """
    lightgbm = _library()
    files = plan_files(_SHIPPED)
    plan = files.plan()
    store.mkdir(parents=True, exist_ok=True)
    history, model = store / "history.parquet", store / "model.txt"
    write_table(_history(), history)
    features = read_features(_FEATURES, plan)[1]
    data = take(history, features, plan, sort=False, most_rejected=0.0)
    last = Days.of(data.time // DAY_MS).last
    first = last - timedelta(days=_VALIDATION_DAYS - 1)
    days = Days(first, last)
    fitting = Days(last - timedelta(days=_DAYS - 1), first - timedelta(days=1))
    _fitted(lightgbm, data, fitting.holds(data.time // DAY_MS), features.names).save_model(model)
    job = ImportJob(
        file=model, features=_FEATURES, validation=history, version=_VERSION, name=_NAME,
        store=store, plan=plan, days=days, resamples=0,
    )  # fmt: skip
    _, manifest = import_model(job)
    place(files, store / _NAME / "plan.toml")
    referenced = BundleReferenceJob(
        model=manifest.label, data=history, version=_REFERENCED, train=fitting, held=days
    )
    settings = Settings(models=Models(directory=store))
    return str(add_reference(settings, referenced)["new"])


def _history() -> pa.Table:
    """Return the last days before those that are sent."""
    rows = known_days()
    times = rows["event_time"].cast(pa.int64())
    first = (times[-1].as_py() // DAY_MS - _DAYS + 1) * DAY_MS
    return rows.filter(pc.greater_equal(times, pa.scalar(first)))


def _library() -> Any:
    try:
        import lightgbm  # noqa: PLC0415 it is not needed otherwise
    except ImportError:
        raise SettingsError(
            "demo: --model lightgbm needs LightGBM, which is not installed", "pip install lightgbm"
        ) from None
    return lightgbm


def _fitted(lightgbm: Any, data: LabelledData, fitting: Any, names: Any) -> Any:
    fraud = data.table["is_fraud"].to_numpy().astype(np.int64)
    table = lightgbm.Dataset(data.features[fitting], fraud[fitting], feature_name=list(names))
    return lightgbm.train(_OPTIONS, table, _ROUNDS)
