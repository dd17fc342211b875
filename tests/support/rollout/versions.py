"""A store of versions that rollouts switch between."""

import shutil
from pathlib import Path

import pytest

from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.models.noise_bundles import AMOUNT, FIELD, LONGER, STORED, write

OLD, SHIPPED, NEW, COLD = "fraud:1.0.0", "fraud:1.1.0", "fraud:1.2.0", "fraud:1.3.0"
RAMP = [{"percent": 0}, {"percent": 5}, {"percent": 50}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with all of them; the rings of the others do not serve COLD."""
    store = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS_DIRECTORY / "fraud", store / "fraud")
    write(store, "1.2.0", (AMOUNT, STORED))
    write(store, "1.3.0", (AMOUNT, LONGER, FIELD))
    return store
