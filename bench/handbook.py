"""The handbook's table, from the simulator through our engine to the published measures.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection — Practical Handbook". 183 simulated days; all 15 features of all rows by
``training.fold.fold``, terminals and their delay included; its models by its protocol.

It fails in four cases: the data are not the published ones or take longer than half a minute to
make and write; a measure differs too much from the published one; more than one row in a thousand
differs from the tests' oracle; our features take longer than polars' ``rolling_sum_by`` in the same
run. A second way, which packs two sums into one integer by hand, is reported but not judged. Rounds
are interleaved and medians reported; polars starts from its own frame.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.handbook_steps.polars_handbook import WAYS, frame
from bench.handbook_steps.protocol import MODELS, Rows, first_leaf, fit, judge, split, split_on
from bench.harness.rounds import measure
from bench.harness.script import Number, Script, missed, table
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.ports import Float64
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from stream_scorer.training.features import FEATURES
from stream_scorer.training.fold import fold
from tests.oracle.handbook import handbook_features

DAYS = 183
OURS, JUDGED = "ours", "rolling_sum_by"
LEAST_AGREEMENT = 0.999
MOST_SIMULATE_SECONDS = 30.0
_TOLERANCE = 1e-9
_ROUNDING = 1e-9
"""A difference of two decimals in binary is not exact: .293 - .291 is more than .002."""
_WARM_UP_ROWS = 60_000

PUBLISHED = {
    "logistic_regression": {"auc": 0.871, "ap": 0.606, "cp100": 0.291},
    "decision_tree_2": {"auc": 0.763, "ap": 0.496, "cp100": 0.241},
    "decision_tree": {"auc": 0.788, "ap": 0.309, "cp100": 0.243},
    "random_forest": {"auc": 0.867, "ap": 0.658, "cp100": 0.287},
}
MAY_DIFFER = {"logistic_regression": 0.005, "decision_tree_2": 0.002, "random_forest": 0.02}
"""How far AUC and average precision may be from the published ones; the unlimited tree's splits
among equals depend on the library's version, so it is reported but not judged."""
CARD_PRECISION_MAY_DIFFER = 0.01

EXACT = {
    "rows": 1_754_155, "frauds": 14_681, "scenario_1": 973, "scenario_2": 9_077,
    "scenario_3": 4_631, "train_rows": 67_240, "train_frauds": 598, "test_rows": 58_264,
    "test_frauds": 385, "first_leaf_rows": 66_734, "first_leaf_frauds": 236,
}  # fmt: skip
AMOUNT_SPLIT, SPLIT_MAY_DIFFER = 218.67, 0.01
DAILY_CARD_PRECISION = (0.24, 0.32, 0.27, 0.25, 0.23, 0.26, 0.12)
"""The depth-2 tree has four scores, so which cards are the first hundred depends on the order among
equals: a day may be off by one card."""

_TERMINAL_COLUMNS = 6
AMOUNT_COLUMN = 0


def agreement(ours: Float64, theirs: Float64) -> float:
    """Return the share of rows of which no column differs by more than 1e-9."""
    return float((np.abs(ours - theirs) <= _TOLERANCE).all(axis=1).mean())


def counts(table: pa.Table) -> dict[str, int]:
    """Return rows, frauds, and frauds by scenario."""
    scenario = table["fraud_scenario"].fill_null(0).to_numpy()
    return {
        "rows": table.num_rows,
        "frauds": int(np.count_nonzero(table["is_fraud"].to_numpy())),
        **{f"scenario_{n}": int(np.count_nonzero(scenario == n)) for n in (1, 2, 3)},
    }


def simulated() -> tuple[pa.Table, float]:
    """Return all transactions, and the seconds that they took to make and to write to a file."""
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        table = simulate(DAYS)
        write_table(table, Path(directory) / "transactions.parquet")
        return table, time.perf_counter() - started


def labelled(table: pa.Table, features: Float64) -> Rows:
    """Return the table's rows for the protocol."""
    return Rows(
        features=features,
        fraud=table["is_fraud"].to_numpy(),
        day=table["event_time"].cast(pa.int64()).to_numpy() // 86_400_000,
        card=table["customer_id"].cast(pa.int64()).to_numpy(),
    )


def follow_protocol(rows: Rows) -> dict[str, Any]:
    """Train and judge all models; return their part of the report."""
    training, testing = split(rows)
    models, days = {}, {}
    told: dict[str, Any] = {}
    for name in MODELS:
        model = fit(name, training)
        models[name], days[name] = judge(model, testing)
        if name == "decision_tree_2":
            leaf_frauds, leaf_rows = first_leaf(model)
            told = {
                "amount_split": split_on(model, AMOUNT_COLUMN),
                "first_leaf_frauds": leaf_frauds,
                "first_leaf_rows": leaf_rows,
            }
    return {
        "train_rows": len(training.fraud),
        "train_frauds": int(training.fraud.sum()),
        "test_rows": len(testing.fraud),
        "test_frauds": int(testing.fraud.sum()),
        "models": models,
        **told,
        "daily_cp100": days["decision_tree_2"],
    }


def timings(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return medians: ours, that of polars' way that is judged, and of all its ways."""
    medians = {name: round(statistics.median(taken), 3) for name, taken in seconds.items()}
    return {
        "feature_seconds": medians[OURS],
        "polars_seconds": medians[JUDGED],
        "polars": {name: median for name, median in medians.items() if name != OURS},
        "rounds": len(seconds[OURS]),
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each check that a report does not pass."""
    lines = missed(
        *((f"{name} is {{:,}}", document[name], "==", value) for name, value in EXACT.items())
    )
    for name, measures in document["models"].items():
        may_differ = dict.fromkeys(("auc", "ap"), MAY_DIFFER.get(name, np.inf))
        may_differ["cp100"] = CARD_PRECISION_MAY_DIFFER
        lines += [
            f"{name}: {which} is {measures[which]:.4f}, published is "
            f"{PUBLISHED[name][which]:.3f}, may differ by {most}"
            for which, most in may_differ.items()
            if not abs(measures[which] - PUBLISHED[name][which]) <= most + _ROUNDING
        ]
    if not abs(document["amount_split"] - AMOUNT_SPLIT) <= SPLIT_MAY_DIFFER + _ROUNDING:
        lines.append(
            f"the depth-2 tree splits the amount at {document['amount_split']:.3f}, "
            f"must be {AMOUNT_SPLIT}"
        )
    days = document["daily_cp100"]
    most = CARD_PRECISION_MAY_DIFFER + _ROUNDING
    if not np.allclose(days, DAILY_CARD_PRECISION, rtol=0, atol=most):
        lines.append(
            f"the depth-2 tree's CP@100 by day is {days}, must be {list(DAILY_CARD_PRECISION)}"
        )
    return lines + missed(
        (
            "{:.5f} of the rows agree with the oracle",
            document["oracle_agreement"], ">=", LEAST_AGREEMENT,
        ),
        (
            f"simulating and writing {DAYS} days takes {{}} s",
            document["simulate_seconds"], "<=", MOST_SIMULATE_SECONDS,
        ),
        (
            f"our features take {{}} s, polars' {JUDGED} {document['polars_seconds']} s",
            document["feature_seconds"], "<=", document["polars_seconds"],
        ),
    )  # fmt: skip


def main() -> int:
    script = Script(__doc__, "fewer rounds", rounds=Number(7, 3, "interleaved rounds"))
    transactions, simulate_seconds = simulated()
    plan = Plan()
    features = compile_features(FEATURES, plan)
    # The published data's labels have no time: they count as known immediately.
    fraud = transactions["is_fraud"].to_numpy()
    # Compilation on first use is not measured.
    fold(transactions.slice(0, _WARM_UP_ROWS), features, plan, fraud[:_WARM_UP_ROWS])
    theirs = frame(transactions)
    ways = {name: partial(way, theirs) for name, way in WAYS.items()}
    seconds = measure(
        {OURS: lambda: fold(transactions, features, plan, fraud), **ways}, script.options.rounds
    )
    folded = fold(transactions, features, plan, fraud)
    oracle = handbook_features(transactions).to_numpy()
    for name, way in ways.items():
        found = way().to_numpy()
        if agreement(found, oracle) < 1:
            raise SystemExit(f"polars' {name} does not compute what the oracle does")
    at_terminal = slice(len(features.names) - _TERMINAL_COLUMNS, None)
    document = {
        **counts(transactions),
        **follow_protocol(labelled(transactions, folded.features)),
        "oracle_agreement": agreement(folded.features, oracle),
        "terminal_agreement": agreement(folded.features[:, at_terminal], oracle[:, at_terminal]),
        "simulate_seconds": round(simulate_seconds, 2),
        **timings(seconds),
    }
    return script.conclude(
        document,
        failures(document),
        table(
            f"{document['train_rows']:,} training rows, {document['test_rows']:,} test rows",
            "model",
            *(f"{what}, published" for what in ("AUC ROC", "average precision", "CP@100")),
            rows=(
                (name, *(f"{measures[w]:.4f}  {PUBLISHED[name][w]:.3f}" for w in measures))
                for name, measures in document["models"].items()
            ),
        ),
        f"simulated and written in {document['simulate_seconds']} s; "
        f"15 features of {document['rows']:,} rows: ours {document['feature_seconds']} s, polars "
        f"{document['polars']} s; {document['oracle_agreement']:.6f} of the rows agree with the "
        f"oracle, {document['terminal_agreement']:.6f} in the terminals' columns",
    )


if __name__ == "__main__":
    sys.exit(main())
