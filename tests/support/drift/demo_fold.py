"""The demo without Kafka: its transactions, decided by the core, folded by the monitor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.core.decision.policy import decide
from stream_scorer.core.events.batch import DecisionBatch, EventBatch
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.demo.input import Traffic
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.settings import Models, Settings
from stream_scorer.training.fold import fold

PARTITIONS = 4
_BATCH = 5_000
_NOW_MS = 1_790_000_000_000


def folded(store: Path, label: str, sent: Traffic) -> tuple[DriftWatch, list[Alarm]]:
    """Return the monitor's state after all transactions, and its alarms.

    Labels are known before the rows of their terminals are due, as in the demo.

    Args:
        store: The model's store.
        label: NAME:VERSION of a bundle with a reference.
        sent: The transactions.
    """
    settings = Settings(models=Models(directory=store))
    reference = load_bundle(store / label.replace(":", "/")).reference
    watch = DriftWatch(AlarmBudget(), range(PARTITIONS), 0, lambda *_: reference)
    alarms = []
    for number, summary in enumerate(_summaries(settings, label, sent)):
        alarms += watch.update(summary, _NOW_MS + number * 1_000)
    return watch, alarms


def _summaries(settings: Settings, label: str, sent: Traffic) -> Iterator[dict[str, Any]]:
    model, plan = load_model(settings, Deployment(label))
    fraud = sent.rows["is_fraud"].to_numpy()
    features = np.ascontiguousarray(fold(sent.rows, model.features, plan, fraud).features)
    scores = model.predictor.scores(features)
    outcome = decide(scores, model.thresholds)
    customers = sent.rows["customer_id"].cast(pa.int64()).to_numpy()
    partition = (customers % PARTITIONS).astype(np.int32)
    offset = np.empty(len(scores), np.int64)
    for each in range(PARTITIONS):
        offset[partition == each] = np.arange((partition == each).sum())
    times = np.full(len(scores), _NOW_MS, np.int64)
    segments = segments_of(plan)
    begin = 0
    for rows in sent.rows.combine_chunks().to_batches(max_chunksize=_BATCH):
        part = slice(begin, begin := begin + rows.num_rows)
        decisions = DecisionBatch(
            EventBatch(rows, partition[part], offset[part], times[part]), scores[part],
            outcome[part], np.zeros(rows.num_rows, np.uint8), features[part], {}, model.name,
            model.version,
        )  # fmt: skip
        decided = SummaryInput(decisions, plan.summary_window_ms, model.bins, segments)
        read = InputRecords(partition[part], offset[part], times[part])
        for made in summarize(read, [decided]):
            yield from made
