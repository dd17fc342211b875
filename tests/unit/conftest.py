from pathlib import Path

import pyarrow as pa
import pytest

from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table


@pytest.fixture(scope="session")
def published() -> pa.Table:
    """The handbook's complete data set of 183 days; making it takes six seconds."""
    return simulate()


@pytest.fixture(scope="session")
def labelled() -> pa.Table:
    """Labelled transactions of a small city, for tests that train."""
    return simulate(days=52, customers=250)


@pytest.fixture(scope="session")
def data(labelled: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "transactions.parquet"
    write_table(labelled, path)
    return path


@pytest.fixture(scope="session")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of features that every kind of model accepts."""
    path = tmp_path_factory.mktemp("features") / "features.toml"
    path.write_text(
        """
        [[features]]
        name = "AMOUNT"
        kind = "passthrough"
        field = "amount"

        [[features]]
        name = "LARGEST"
        kind = "max"
        field = "amount"
        window = "30d"
        last = 5

        [[features]]
        name = "RISK"
        kind = "risk"
        key = "terminal_id"
        delay = "7d"
        window = "7d"
        """
    )
    return path
