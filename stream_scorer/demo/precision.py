"""How well the published scores rank the demo's frauds."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.demo.input import Traffic
from stream_scorer.demo.verdict import Scores


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of scores against the simulator's labels.

    Attributes:
        transactions: Number of decided transactions.
        frauds: How many of them are frauds.
        value: Area under the precision-recall curve, by steps; None without a fraud.
    """

    transactions: int
    frauds: int
    value: float | None


def precisions(scores: Scores, sent: Traffic) -> tuple[Precision, Precision]:
    """Join published scores with labels by transaction id.

    Returns:
        Precision over the unmodified transactions, and over those whose amounts were doubled. They
        are separate because the simulator labels amounts over 220 as frauds, which the model has
        learnt, but most doubled amounts over 220 are labelled genuine.
    """
    number = pc.index_in(scores.transaction_id, sent.rows["transaction_id"].combine_chunks())
    known = np.flatnonzero(np.asarray(number.is_valid()))
    rows = number.take(pa.array(known)).to_numpy().astype(np.int64)
    fraud = np.asarray(sent.rows["is_fraud"].to_numpy(), np.bool_)[rows]
    score, changed = scores.score[known], sent.changed[rows]
    return _precision(fraud[~changed], score[~changed]), _precision(fraud[changed], score[changed])


def _precision(fraud: NDArray[np.bool_], score: NDArray[np.float64]) -> Precision:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 scikit-learn loads slowly

    value = float(average_precision_score(fraud, score)) if fraud.any() else None
    return Precision(len(fraud), int(fraud.sum()), value)
