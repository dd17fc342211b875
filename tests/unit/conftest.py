import pyarrow as pa
import pytest

from stream_scorer.simulator import simulate


@pytest.fixture(scope="session")
def published() -> pa.Table:
    """The handbook's whole data set, 183 days; it takes six seconds to make."""
    return simulate()
