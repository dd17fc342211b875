"""What a dataset is built from, what it consists of, and what its build reports.

A dataset is a folder with ``part-NNNNN.parquet`` files, in the order of the source, and
``dataset.json``: sources with first and next offsets, plan, the time of the labels, counts by
state, sample and the SHA-256 of each part, as canonical JSON. Two builds of the same range give
equal bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OWN_COLUMNS: Final = {
    "transaction_id": "string",
    "customer_id": "string",
    "event_time": "int64",
    "label_time": "int64",
    "score": "float64",
    "outcome": "uint8",
    "is_fraud": "bool",
    "weight": "float64",
    "amount_minor": "int64",
    "model_version": "string",
    "plan_revision": "int64",
}
"""Columns of a part, with their Arrow types, in addition to one float64 column for each feature
under its name in the manifest. Times are in ms; ``label_time`` is null without a label.

``score`` and ``outcome`` (values of ``core.events.batch.Outcome``, as published) are those of the
decision. ``weight`` is the inverse of the probability with which the row is in the dataset: 1 / Q
of a genuine row that was sampled with Q, 1 / p of one that was let through, 1 of any other.
"""


@dataclass(frozen=True, slots=True)
class DatasetOrder:
    """What a dataset is to contain.

    Attributes:
        first_ms: First event time, ms since the epoch.
        end_ms: End of the event times, exclusive.
        as_of_ms: Labels count if their label time and their Kafka timestamp are not after it, ms.
        out: Folder to write; it must not exist, or be empty.
        features: Declarations of other features, which are folded from the input, with the engine
            of the model; None: the features as they were recorded in the decisions.
        sample: Share of the genuine rows that is kept, in (0, 1].
        model: NAME or NAME:VERSION of the model whose decisions are read, and whose features they
            must have recorded; NAME: those of its newest version; None: of the default model.
    """

    first_ms: int
    end_ms: int
    as_of_ms: int
    out: Path
    features: Path | None
    sample: float
    model: str | None


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """The result of a build.

    Attributes:
        directory: The folder.
        digest: SHA-256 of ``dataset.json`` in hex.
        rows: Rows of all parts.
        frauds: Those that are frauds.
        genuine: Those that are genuine; ``rows`` is the sum of the two.
        left_out: Decisions of the range that are not in the dataset, by reason: ``blocked`` without
            a label, ``unknown``, ``sampled``, and the others of ``dataset.build.REASONS``.
        seconds: Time that it took.
        peak_mb: Largest resident memory of the process, in 10^6 bytes.
    """

    directory: Path
    digest: str
    rows: int
    frauds: int
    genuine: int
    left_out: Mapping[str, int]
    seconds: float
    peak_mb: float
