"""Whether a bundle's probabilities have the same bits on every machine, which devices need."""

from stream_scorer.core.features.engines import ENGINES
from stream_scorer.errors import EdgeError
from stream_scorer.models.bundles.bundle import Manifest


def check_same_bits(manifest: Manifest) -> None:
    """Refuse a bundle that would decide otherwise on another machine.

    Args:
        manifest: The bundle's, of a known engine.

    Raises:
        EdgeError: Its probabilities depend on the machine.
    """
    if not ENGINES[manifest.engine].own_exponential:
        raise EdgeError(
            f"bundle {manifest.label}: is of engine {manifest.engine}, whose probabilities depend "
            "on the machine",
            f"stream-scorer models upgrade {manifest.label} --engine 3 --version NEW",
        )
