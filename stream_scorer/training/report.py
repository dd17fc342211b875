"""The command's summary of a training; the card contains more."""

from pathlib import Path
from typing import Any

from stream_scorer.models.bundles.bundle import Manifest


def report(directory: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the training as one flat table; measures that the test cannot give are None."""
    training = manifest.training
    test, new = training.test or training.validation, training.test_new_cards
    told = test.model_dump(mode="json", exclude={"period", "intervals"})
    between = {name: [low.low, low.high] for name, low in test.intervals.items()}
    return {
        "bundle": manifest.label,
        "directory": str(directory),
        "content_hash": manifest.content_hash,
        "review": manifest.thresholds.review,
        "block": manifest.thresholds.block,
        "rows": training.rows,
        "rejected": training.rejected,
        "train_rows": training.train.rows if training.train else None,
        "train_frauds": training.train.frauds if training.train else None,
        "test_rows": test.period.rows,
        "test_frauds": test.period.frauds,
        **told,
        "intervals": between,
        "new_cards_rows": new.period.rows if new else 0,
        "new_cards_frauds": new.period.frauds if new else 0,
        "new_cards_auc": new.auc if new else None,
        "new_cards_average_precision": new.average_precision if new else None,
        "new_cards_card_precision": new.card_precision if new else None,
    }
