"""A bundle with a reference of drift detection, trained on simulated days."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from stream_scorer.core.events.plan import parse_plan
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from stream_scorer.training.run import train
from tests.support.training.train_cases import order

LABEL = "fraud:1.0.0"
_SEGMENTS = "\n[segments]\namount = [20.0, 100.0]\n"


def referenced_bundle(store: Path) -> str:
    """Write a bundle with a reference, and its plan with three segments, to a store.

    The bundle is trained once for a process, on 52 days of 250 customers.

    Returns:
        ``fraud:1.0.0``.
    """
    shutil.copytree(_trained() / "fraud", store / "fraud", dirs_exist_ok=True)
    return LABEL


@cache
def _trained() -> Path:
    store = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, store, ignore_errors=True)
    data = store / "transactions.parquet"
    write_table(simulate(days=52, customers=250), data)
    text = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text() + _SEGMENTS
    train(order(data, store, plan=parse_plan(text, {}), resamples=0))
    data.unlink()
    (store / "fraud" / "plan.toml").write_text(text)
    return store
