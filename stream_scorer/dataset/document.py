"""``dataset.json``: what a dataset was built from, and what it consists of."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.durable_files import SHARED, replace_file
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.security.canonical_json import canonical
from stream_scorer.training.labelled import DATASET_FORMAT, DOCUMENT


@dataclass(frozen=True, slots=True)
class SourceRange:
    """The records of a topic that were read.

    Attributes:
        topic: The topic.
        first: By partition, the first offset.
        next: By partition, the offset after the last one.
    """

    topic: str
    first: Mapping[int, int]
    next: Mapping[int, int]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        partitions = {str(p): [self.first[p], self.next[p]] for p in sorted(self.first)}
        return {"topic": self.topic, "partitions": partitions}


def document_of(
    *,
    order: Mapping[str, Any],
    features: Sequence[FeatureSpec],
    sources: Mapping[str, SourceRange],
    policy: LabelPolicy,
    counts: Mapping[str, Any],
    parts: Sequence[Mapping[str, Any]],
) -> bytes:
    """Return the contents of the document: canonical JSON, without a time of the build.

    Args:
        order: Range, time of the labels, sample and model.
        features: Declarations in column order.
        sources: What was read of each topic.
        policy: For decisions that no revision of a plan made.
        counts: Rows, frauds, genuine rows, rows by version, and decisions that were left out.
        parts: Name, rows and digest of each part.
    """
    document: dict[str, Any] = {
        "format": DATASET_FORMAT,
        **order,
        "features": [dict(spec) for spec in features],
        "sources": {name: source.as_json() for name, source in sources.items()},
        "label_policy": {**asdict(policy), "sources": list(policy.sources)} if policy.on else None,
        **counts,
        "parts": [dict(part) for part in parts],
    }
    return canonical(document)


def write_document(folder: Path, contents: bytes) -> str:
    """Write the document, which makes the folder a dataset; return its SHA-256 in hex.

    Raises:
        OSError: It cannot be written.
    """
    replace_file(folder / DOCUMENT, contents, SHARED)
    return hashlib.sha256(contents).hexdigest()
