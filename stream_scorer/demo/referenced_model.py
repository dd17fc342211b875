"""The demo's model: the shipped one, with a reference of drift detection.

The reference is made as a user makes one: from the days on which the model was fitted and judged,
which its manifest names. The demo sends later days, which are new to model and reference.
"""

from pathlib import Path
from typing import Final

from stream_scorer.demo.city import known_days
from stream_scorer.models.commands.reference import BundleReferenceJob, add_reference
from stream_scorer.models.stores.deployment import plan_files
from stream_scorer.models.stores.new_plan import place
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from stream_scorer.simulator.files import write_table

_SHIPPED: Final = "fraud:1.1.1"
_VERSION: Final = "1.1.2"


def write_referenced_model(store: Path) -> str:
    """Write the shipped model with a reference into a store.

    Args:
        store: A folder; created if it does not exist.

    Returns:
        NAME:VERSION of the bundle.

    Raises:
        ModelError: The store cannot be written.
    """
    name = _SHIPPED.partition(":")[0]
    store.mkdir(parents=True, exist_ok=True)
    path = store / "history.parquet"
    write_table(known_days(), path)
    job = BundleReferenceJob(model=_SHIPPED, data=path, version=_VERSION, out=store)
    add_reference(Settings(models=Models(directory=MODELS_DIRECTORY)), job)
    place(plan_files(MODELS_DIRECTORY / name / "plan.toml"), store / name / "plan.toml")
    path.unlink()
    return f"{name}:{_VERSION}"
