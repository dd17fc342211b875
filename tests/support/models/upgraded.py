"""A store whose bundles all have format 2, which loads much faster."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.settings import MODELS_DIRECTORY, load_settings


@cache
def upgraded_store() -> Path:
    """Return a store of this process with all shipped versions, which decide the same."""
    store = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, store, ignore_errors=True)
    settings = load_settings({})
    for version in ("1.0.0", "1.1.0"):
        upgrade(settings, f"fraud:{version}", version, store)
    for version in ("1.0.1", "1.1.1"):
        shutil.copytree(MODELS_DIRECTORY / "fraud" / version, store / "fraud" / version)
    shutil.copy(MODELS_DIRECTORY / "fraud" / "plan.toml", store / "fraud")
    return store
