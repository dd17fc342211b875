"""All transactions of a range of the input, also those that no dataset has: blocked, unknown.

The reference of drift detection is made of them: it compares all of a stream.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.labelling.contract import UNKNOWN
from stream_scorer.dataset.blocked import read_blocked
from stream_scorer.dataset.contract import DatasetOrder
from stream_scorer.dataset.reading import each_of, read, source_of
from stream_scorer.dataset.refold import fold_input
from stream_scorer.dataset.statements import StatementReader
from stream_scorer.errors import SettingsError
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import Settings
from stream_scorer.training.labelled import LabelledData


def read_stream(
    settings: Settings, order: DatasetOrder, features: FeatureSet, plan: Plan,
    columns: Iterable[str],
) -> LabelledData:  # fmt: skip
    """Return the transactions of a dataset's range and of the history that its features need.

    They are decoded, validated and folded as in training. Their labels are not read, except those
    that a terminal's history has; nor are their decisions, except which of them were blocked.

    Args:
        settings: The cluster, its topics and the registry.
        order: Of the dataset: its range, and the time of the labels.
        features: What is computed.
        plan: Its mapping, its limits, the delay of terminals, and the policy for labels.
        columns: The columns that are needed.

    Raises:
        SettingsError: The input has none of them, or more than memory is planned for, or a topic
            is missing.
        UnavailableError: Broker or registry do not answer.
    """
    kafka, registry = settings.kafka, open_registry(settings.registry)
    directory = settings.registry.directory
    decisions = source_of(kafka, kafka.topics.decisions)
    statements = StatementReader(registry, plan, order.as_of_ms, directory)
    each_of(read(kafka, source_of(kafka, kafka.topics.labels)), statements.add)
    inputs = source_of(kafka, kafka.topics.transactions)
    blocked = read_blocked(settings, registry, decisions, inputs.topic, features, plan)
    found = fold_input(
        read(kafka, inputs), EventDecoders(registry, directory), features, plan, statements.known(),
        (order.first_ms, order.end_ms), columns, blocked,
    )  # fmt: skip
    if found is None or not len(found.rows):
        raise SettingsError(
            f"topic {inputs.topic}: has no transaction of these days", "keep the input for longer"
        )
    table = found.table.take(found.rows)
    time = table["event_time"].cast(pa.int64()).to_numpy()
    return LabelledData(
        table, time, found.features, found.count, found.rejected,
        np.full(len(time), UNKNOWN, np.uint8),
    )  # fmt: skip
