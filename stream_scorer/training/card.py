"""The model card: a model's purpose and quality, with four pictures; and the command's summary.

Source: Mitchell et al., "Model Cards for Model Reporting" (2019), for the contents of a card.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from stream_scorer.core.features.engines import FIRST_ENGINE
from stream_scorer.models.bundles.bundle import (
    CARD,
    PLOTS,
    DecisionThresholds,
    FeatureSpec,
    Interval,
    Lineage,
    Manifest,
    Quality,
    Training,
)
from stream_scorer.training.metrics import FALSE_POSITIVE_RATE, Scored, calibration

_BINS = 50
_DOTS_PER_INCH = 80


@dataclass(frozen=True, slots=True)
class Card:
    """The contents of a card.

    Attributes:
        label: NAME:VERSION.
        kind: Kind of model.
        features: Declarations in column order.
        thresholds: The decision policy.
        training: Split, quality, costs.
        currency: Of amounts and costs.
        judged: The scored test days; of an imported model, the validation days.
        library: The library and version that trained it, if the model was imported.
        notes: Sentences about how it is run.
        lineage: The registered version that it was imported from, if there is one.
        engine: Number of its engine.
    """

    label: str
    kind: str
    features: Sequence[FeatureSpec]
    thresholds: DecisionThresholds
    training: Training
    currency: str
    judged: Scored
    library: str | None = None
    notes: tuple[str, ...] = ()
    lineage: Lineage | None = None
    engine: int = FIRST_ENGINE

    @property
    def quality(self) -> Quality:
        """The quality on the judged days."""
        return self.training.test or self.training.validation

    @property
    def days(self) -> str:
        """What the judged days are called."""
        return "validation" if self.training.test is None else "test"


def card_files(card: Card) -> dict[str, bytes]:
    """Return the card's files by name."""
    return {CARD: _text(card).encode(), PLOTS: _picture(card)}


_PURPOSE = (
    "A model ({kind}) that gives each card transaction a score from 0 (genuine) to 1 (fraud), "
    "{origin}. It is meant for transactions like those: other "
    "customers, terminals or habits of fraudsters need their own training. It is not meant "
    "to judge persons."
)
_KINDS = {"onnx": "in ONNX format"}
_TRAINED = "trained by `stream-scorer train` on `{source}`"
_IMPORTED = (
    "trained by {library}, imported by `stream-scorer models import`, and measured on `{source}`"
)
_LABELS = (
    "Labels take {delay} days: none that was not known when the test began was used for fitting "
    "or thresholds. *New cards* leaves out cards that were known to be compromised, from the day "
    "on which they were."
)
_TITLES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "card_precision": "CP@{k}",
    "recall_at_1_percent_fpr": "recall at 1 % false positives",
    "value_recall": "share of the frauds' value that is not approved",
    "review_or_block_rate": "alert rate (reviewed or blocked)",
    "block_rate": "block rate",
    "block_precision": "precision of blocks",
    "cost_saved": "cost saved, {currency}",
    "cost_saved_share": "cost saved, share",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}


def _text(card: Card) -> str:
    training = card.training
    possible = {
        "validation": training.validation,
        "test": training.test,
        "test, new cards": training.test_new_cards,
    }
    qualities = {name: quality for name, quality in possible.items() if quality is not None}
    periods = {} if training.train is None else {"train": training.train}
    periods |= {name: quality.period for name, quality in qualities.items()}
    origin = (_IMPORTED if card.library else _TRAINED).format(
        library=card.library, source=training.source
    )
    costs = training.costs
    lines = [
        f"# {card.label}",
        "",
        _PURPOSE.format(kind=_KINDS.get(card.kind, card.kind.replace("_", " ")), origin=origin),
        "",
        *(line for note in card.notes for line in (note, "")),
        "## Decisions",
        "",
        f"REVIEW from {card.thresholds.review:.4f}, BLOCK from {card.thresholds.block:.4f}: "
        f"{card.thresholds.rule}." + (f" Costs are in {card.currency}." if costs else ""),
        "",
        "## Data",
        "",
        "| | days | transactions | frauds |",
        "|---|---|---|---|",
        *(
            f"| {name} | {p.first_day} to {p.last_day} | {p.rows:,} | {p.frauds:,} |"
            for name, p in periods.items()
        ),
        "",
        *_asked(training),
        *_rejected(training),
        *([] if training.delay_days is None else [_LABELS.format(delay=training.delay_days), ""]),
        "## Quality",
        "",
        *(
            [f"In brackets: 95 % of {training.resamples} resamples of the cards.", ""]
            if training.resamples
            else []
        ),
        f"| | {' | '.join(qualities)} |",
        "|---" * (1 + len(qualities)) + "|",
        *(
            f"| {title.format(k=training.cards_per_day, currency=card.currency)} | "
            + " | ".join(_cell(name, quality) for quality in qualities.values())
            + " |"
            for name, title in _TITLES.items()
        ),
        "",
        f"![Quality on the {card.days} days]({PLOTS})",
        "",
        f"## Features (engine {card.engine})",
        "",
        "| name | kind | |",
        "|---|---|---|",
        *(_feature(spec) for spec in card.features),
        "",
        *([] if card.lineage is None else _lineage(card.lineage)),
    ]
    return "\n".join(lines)


def _asked(training: Training) -> list[str]:
    """Return a paragraph on requested days without data, if there are any."""
    held = {
        "train": training.train,
        "validation": training.validation.period,
        "test": training.test.period if training.test else None,
    }
    lacking = [
        f"{name} {days.replace(':', ' to ')}"
        for name, days in training.asked.items()
        if (period := held[name]) and days != f"{period.first_day}:{period.last_day}"
    ]
    if not lacking:
        return []
    return [f"The data have no row of some days that were asked for: {', '.join(lacking)}.", ""]


def _rejected(training: Training) -> list[str]:
    """Return a paragraph on the transactions that were left out."""
    if training.rows is None:
        return []
    count = sum(training.rejected.values())
    if not count:
        return [f"None of the data's {training.rows:,} transactions was rejected.", ""]
    told = ", ".join(f"{reason} {found:,}" for reason, found in training.rejected.items())
    text = (
        f"Of the data's {training.rows:,} transactions {count:,} were left out, as the stream "
        f"rejects them too: {told}."
    )
    return [text, ""]


def _cell(name: str, quality: Quality) -> str:
    value: float | None = getattr(quality, name)
    if value is None:
        return "none"
    interval: Interval | None = quality.intervals.get(name)
    form = ",.0f" if name == "cost_saved" else ".4f"
    between = f" ({interval.low:{form}} to {interval.high:{form}})" if interval else ""
    return f"{value:{form}}{between}"


def _feature(spec: FeatureSpec) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in spec.items() if key not in ("name", "kind"))
    return f"| {spec['name']} | {spec['kind']} | {rest} |"


def _lineage(lineage: Lineage) -> list[str]:
    """Return the section on the registered version that a model comes from."""
    rows = {
        "registered version": lineage.parent_version,
        "imported as": lineage.asked,
        "MLflow server": lineage.server,
        "run": lineage.run_id,
        "git commit": lineage.git_commit,
        "author": lineage.author,
        **{f"data set {n}": f"{e.name} {e.digest}" for n, e in enumerate(lineage.data_sets, 1)},
        "sha256 of plan.toml": lineage.plan_sha256,
        "sha256 of events.toml": lineage.mapping_sha256 or "",
    }
    return [
        "## Lineage",
        "",
        "As the MLflow server states it; the hashes are the import's.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_quoted(text)} |" for name, text in rows.items()),
        "",
    ]


def _quoted(text: str) -> str:
    """Return a text of others as code, in which Markdown has no links and no HTML.

    >>> _quoted("<b>`x`|y")
    "`<b>'x'/y`"
    """
    return f"`{text.replace('`', chr(39)).replace('|', '/')}`" if text.strip() else "-"


def _picture(card: Card) -> bytes:
    """Return a PNG of the ROC and precision-recall curves, calibration and scores."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for draw, place in zip((_roc, _recall, _calibration, _scores), axes.flat, strict=True):
        draw(place, card)
    period = card.quality.period
    figure.suptitle(f"{card.label} on {period.first_day} to {period.last_day}")
    buffer = io.BytesIO()
    # Without the library's version, the same picture more often has the same bytes.
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _roc(axes: Axes, card: Card) -> None:
    false, true, _ = roc_curve(card.judged.fraud, card.judged.scores)
    axes.plot(false, true, label=f"AUC {card.quality.auc:.3f}")
    axes.axvline(FALSE_POSITIVE_RATE, color="grey", linestyle=":", label="1 % false positives")
    axes.set(title="ROC", xlabel="false positive rate", ylabel="recall")
    axes.legend(loc="lower right")


def _recall(axes: Axes, card: Card) -> None:
    precision, recall, _ = precision_recall_curve(card.judged.fraud, card.judged.scores)
    mean = card.quality.average_precision
    axes.step(recall, precision, where="post", label=f"average precision {mean:.3f}")
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    axes.legend(loc="lower left")


def _calibration(axes: Axes, card: Card) -> None:
    mean, share, _ = calibration(card.judged)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as it should be")
    axes.plot(mean, share, marker="o", label="ten bins of equal width")
    axes.set(title="Calibration", xlabel="mean score", ylabel="share of frauds")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")


def _scores(axes: Axes, card: Card) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    for label, wanted in (("genuine", 0), ("fraud", 1)):
        scores = card.judged.scores[card.judged.fraud == wanted]
        axes.hist(scores, bins=list(edges), alpha=0.6, label=label)
    axes.axvline(card.thresholds.review, color="black", linestyle="--", label="REVIEW")
    axes.axvline(card.thresholds.block, color="black", label="BLOCK")
    axes.set_yscale("log")
    axes.set(title="Scores", xlabel="score", ylabel="transactions")
    axes.legend(loc="upper center")


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
