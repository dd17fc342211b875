"""Which transactions were blocked: without a label, their rows of terminals are unknown."""

from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.dataset.decisions import DecidedDecoder
from stream_scorer.dataset.document import SourceRange
from stream_scorer.dataset.reading import Told, each_of, read
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.settings import Settings

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

NONE_BLOCKED: Final[UInt64] = np.empty(0, np.uint64)
"""Places of no transaction."""


def places_of(partition: Int64, offset: Int64) -> UInt64:
    """Return uint64[n]: partition and offset of transactions of the input, in one number."""
    return (partition.astype(np.uint64) << np.uint64(44)) | offset.astype(np.uint64)


def read_blocked(
    settings: Settings, registry: SchemaSource, decisions: SourceRange, topic: str,
    features: FeatureSet, plan: Plan, told: Told | None = None,
) -> UInt64:  # fmt: skip
    """Return uint64[b], ascending: places of the transactions that were blocked.

    They are read only if a feature depends on them: without a feature of a terminal, or without a
    policy for labels, no row is unknown.

    Args:
        settings: The cluster and the folder of the schemas.
        registry: Has the writers' schemas.
        decisions: The decisions to read.
        topic: The topic of the transactions.
        features: What is computed.
        plan: Has the policy.
        told: Called with the progress.

    Raises:
        UnavailableError: Broker or registry do not answer.
    """
    if not (features.by_terminal and plan.label_policy):
        return NONE_BLOCKED
    decoder = DecidedDecoder(registry, settings.registry.directory)
    found: list[UInt64] = []
    add = partial(_add, found, decoder, topic)
    each_of(read(settings.kafka, decisions, told), add)
    return np.unique(np.concatenate([NONE_BLOCKED, *found]))


def _add(found: list[UInt64], decoder: DecidedDecoder, topic: str, raw: RawRecords) -> None:
    decided, _ = decoder.decode(raw)
    ours = np.asarray(pc.equal(decided.records.column("source_topic"), topic))
    records = decided.take(np.flatnonzero(decided.blocked & ours)).records
    partition, offset = (
        np.asarray(records.column(name).cast(pa.int64()), np.int64)
        for name in ("source_partition", "source_offset")
    )
    found.append(places_of(partition, offset))
