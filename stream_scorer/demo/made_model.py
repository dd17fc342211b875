"""The model that decides in the demo; it is made first, because it needs a reference."""

from collections.abc import Callable
from pathlib import Path


def made_model(store: Path, phase: Callable[[str, int], None], *, lightgbm: bool) -> str:
    """Make the model with its reference in a store; return NAME:VERSION.

    Args:
        store: A folder; created if it does not exist.
        phase: Shows what is done.
        lightgbm: Whether it is a LightGBM model that is trained and imported; otherwise it is the
            shipped one.

    Raises:
        SettingsError: LightGBM is not installed.
        ModelError: The store cannot be written.
    """
    # Scikit-learn loads slowly.
    if lightgbm:
        from stream_scorer.demo.lightgbm_model import write_lightgbm_model  # noqa: PLC0415

        phase("a LightGBM model: trained and imported", 0)
        return write_lightgbm_model(store)
    from stream_scorer.demo.referenced_model import write_referenced_model  # noqa: PLC0415

    phase("a reference of the model's own days", 0)
    return write_referenced_model(store)
