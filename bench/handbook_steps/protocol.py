"""The handbook's protocol: the rows for training and test, the models, and the measures.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection — Practical Handbook"; written from its description.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.ports import Float64, Int64

Bool = NDArray[np.bool_]

TRAIN_FIRST = date(2018, 7, 25)
TRAIN_DAYS = DELAY_DAYS = TEST_DAYS = 7
CARDS_A_DAY = 100

MODELS: dict[str, Callable[[], Any]] = {
    "logistic_regression": lambda: LogisticRegression(random_state=0),
    "decision_tree_2": lambda: DecisionTreeClassifier(max_depth=2, random_state=0),
    "decision_tree": lambda: DecisionTreeClassifier(random_state=0),
    "random_forest": lambda: RandomForestClassifier(random_state=0, n_jobs=-1),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows with their features.

    Attributes:
        features: float64[n, m].
        fraud: bool[n].
        day: int64[n], days since the epoch.
        card: int64[n], a number for each customer.
    """

    features: Float64
    fraud: Bool
    day: Int64
    card: Int64

    def take(self, chosen: Bool) -> "Rows":
        """Return the chosen rows."""
        return Rows(self.features[chosen], self.fraud[chosen], self.day[chosen], self.card[chosen])


def split(rows: Rows) -> tuple[Rows, Rows]:
    """Return the rows of the training week and those of the test week, a week of delay between.

    A card leaves the test from the day on which its fraud is known: frauds of the training week
    immediately, those of the week between seven days later, day by day.
    """
    first = (TRAIN_FIRST - date(1970, 1, 1)).days
    training = (rows.day >= first) & (rows.day < first + TRAIN_DAYS)
    known = np.unique(rows.card[training & rows.fraud])
    testing = np.zeros(len(rows.day), np.bool_)
    for number in range(TEST_DAYS):
        revealed = first + TRAIN_DAYS + number - 1
        known = np.union1d(known, rows.card[(rows.day == revealed) & rows.fraud])
        today = rows.day == first + TRAIN_DAYS + DELAY_DAYS + number
        testing |= today & ~np.isin(rows.card, known)
    return rows.take(training), rows.take(testing)


def card_precision(rows: Rows, scores: Float64, cards: int = CARDS_A_DAY) -> list[float]:
    """Return for each day the share of defrauded cards among those with the highest scores.

    A card's score is the highest of its day's transactions. A card that was found is
    ignored on later days. Of cards with equal scores, the one with the lower number is first.
    """
    found = np.empty(0, np.int64)
    shares = []
    for day in np.unique(rows.day):
        today = (rows.day == day) & ~np.isin(rows.card, found)
        card, number = np.unique(rows.card[today], return_inverse=True)
        highest = np.full(len(card), -np.inf)
        np.maximum.at(highest, number, scores[today])
        defrauded = np.zeros(len(card), np.bool_)
        np.logical_or.at(defrauded, number, rows.fraud[today])
        chosen = np.argsort(-highest, kind="stable")[:cards]
        hits = card[chosen[defrauded[chosen]]]
        shares.append(len(hits) / cards)
        found = np.union1d(found, hits)
    return shares


def fit(name: str, training: Rows) -> Pipeline:
    """Return a fitted model with standard scaling before it."""
    return make_pipeline(StandardScaler(), MODELS[name]()).fit(training.features, training.fraud)


def judge(model: Pipeline, testing: Rows) -> tuple[dict[str, float], list[float]]:
    """Return a model's measures, and its card precision day by day."""
    scores = model.predict_proba(testing.features)[:, 1]
    days = card_precision(testing, scores)
    measures = {
        "auc": float(roc_auc_score(testing.fraud, scores)),
        "ap": float(average_precision_score(testing.fraud, scores)),
        "cp100": float(np.mean(days)),
    }
    return measures, days


def split_on(model: Pipeline, column: int) -> float:
    """Return where a tree first splits a column, in the feature's own unit; NaN if nowhere."""
    scaler, tree = model[0], model[-1].tree_
    nodes = np.flatnonzero(tree.feature == column)
    if not len(nodes):
        return float("nan")
    return float(tree.threshold[nodes[0]] * scaler.scale_[column] + scaler.mean_[column])


def first_leaf(model: Pipeline) -> tuple[int, int]:
    """Return how many frauds and how many rows a tree's leftmost leaf has."""
    tree = model[-1].tree_
    node = 0
    while tree.children_left[node] >= 0:
        node = tree.children_left[node]
    rows = int(tree.n_node_samples[node])
    return round(tree.value[node, 0, 1] / tree.value[node, 0].sum() * rows), rows
