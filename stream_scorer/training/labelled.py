"""Labelled transactions with their features, from a file or a dataset, and their ranges of days."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.engines import ENGINES, FIRST_ENGINE
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, NO_LABEL, UNKNOWN, LabelPolicy
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.ports import Predictor
from stream_scorer.training.days import Days, Split, new_cards, number_of
from stream_scorer.training.metrics import Scored

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]

OUTCOME: Final = "outcome"
"""Column that says what was decided about a transaction."""
DOCUMENT: Final = "dataset.json"
"""The file that makes a folder a dataset."""
DATASET_FORMAT: Final = 1
_DOCUMENT_BYTES_MOST: Final = 64 * 1024 * 1024
_DAY_MS: Final = 86_400_000
_BOTH: Final = 2
_READ: Final = {
    "customer_id": pa.string(), "event_time": pa.int64(), "label_time": pa.int64(),
    "is_fraud": pa.bool_(), "amount_minor": pa.int64(), "weight": pa.float64(),
}  # fmt: skip


def amounts_of(table: pa.Table) -> Int64:
    """Return int64[n], the amounts of a table in minor units of the plan's currency."""
    amounts: Int64 = table[
        BASE_AMOUNT if BASE_AMOUNT in table.column_names else "amount_minor"
    ].to_numpy()
    return amounts


@dataclass(frozen=True, slots=True)
class LabelledData:
    """A file's contents for training; a accepted rows.

    Attributes:
        table: The accepted transactions, in the order in which they were folded.
        time: int64[a], their event times, ms.
        features: float64[a, m], columns in manifest order.
        rows: Number of transactions of the file.
        rejected: How many of them are left out, by reason.
        state: uint8[a], ``FRAUD``, ``GENUINE`` or ``UNKNOWN`` of ``core.labelling.contract``.
        weight: float64[a], the inverse of the probability with which the row is in the data; None:
            1 for each row.
        outcomes: Whether it is known what was decided about the rows.
    """

    table: pa.Table
    time: Int64
    features: Float64
    rows: int
    rejected: dict[str, int]
    state: UInt8
    weight: Float64 | None = None
    outcomes: bool = False

    @property
    def amounts(self) -> Int64:
        """int64[a], amounts in minor units of the plan's currency."""
        return amounts_of(self.table)


def known_frauds(table: pa.Table, by: Int64) -> Mask:
    """Return bool[n]: which rows were known as frauds at the times ``by``, int64[n], ms."""
    known: Mask = table["is_fraud"].fill_null(False).to_numpy() & (_label_times(table) <= by)
    return known


def settled(table: pa.Table, time: Int64, plan: Plan) -> UInt8:
    """Return uint8[n]: what the rows of a table count as, by their labels and the plan's policy.

    Args:
        table: With ``is_fraud``, and possibly with ``outcome``.
        time: int64[n], their event times, ms; the newest one is the time of the policy.
        plan: Has the policy for rows without a label.
    """
    state = _labels(table)
    if not (state == NO_LABEL).any():
        return state
    blocked = _blocked(table)
    policy = LabelPolicy.of(read_label_policy(plan.label_policy))
    settled = policy.settle(state, blocked, time.max() - time, risk=False)
    # Even if the plan has no policy: its column of outcomes is there for this.
    return np.where(blocked & (state == NO_LABEL), np.uint8(UNKNOWN), settled)


def risk_states(table: pa.Table, time: Int64, plan: Plan) -> UInt8:
    """Return uint8[n]: what rows count as in the risk of terminals, as the profiler decides it.

    Args:
        table: With ``is_fraud`` and ``label_time``, and possibly with ``outcome``.
        time: int64[n], their event times, ms.
        plan: When a terminal's row is due, and its policy for rows without a label by then.
    """
    hold = plan.terminal_delay_ms - plan.terminal_slack_ms
    known = np.where(_label_times(table) <= time + hold, _labels(table), np.uint8(NO_LABEL))
    policy = LabelPolicy.of(read_label_policy(plan.label_policy))
    return policy.settle(known, _blocked(table), np.full(len(table), hold), risk=True)


def _labels(table: pa.Table) -> UInt8:
    """Return uint8[n]: ``FRAUD``, ``GENUINE`` or ``NO_LABEL``."""
    flags = table["is_fraud"].cast(pa.uint8()).fill_null(NO_LABEL).to_numpy()
    return np.choose(np.minimum(flags, 2), np.array([GENUINE, FRAUD, NO_LABEL], np.uint8))


def _label_times(table: pa.Table) -> Int64:
    """Return int64[n]: when the labels were known, ms; a label without a time always was."""
    return table["label_time"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()


def _blocked(table: pa.Table) -> Mask:
    """Return bool[n]: which rows are known to have been blocked."""
    if OUTCOME not in table.column_names:
        return np.zeros(len(table), np.bool_)
    return pc.equal(table[OUTCOME], Outcome.BLOCK.name).fill_null(False).to_numpy()


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A dataset that was opened; its parts are not read yet.

    Attributes:
        path: The folder.
        features: Declarations of the features, in column order.
        engine: Number of the engine that computed the features.
        rows: Number of rows of all parts.
        document: What ``dataset.json`` says.
        digest: SHA-256 of ``dataset.json`` in hex.
    """

    path: Path
    features: tuple[FeatureSpec, ...]
    engine: int
    rows: int
    document: dict[str, Any]
    digest: str

    @classmethod
    def open(cls, path: Path) -> "DatasetFolder":
        """Read ``dataset.json`` of a folder.

        Raises:
            SettingsError: It is missing, or not that of a dataset.
        """
        file = path / DOCUMENT
        try:
            size = file.stat().st_size
            text = file.read_bytes() if size <= _DOCUMENT_BYTES_MOST else b""
        except OSError as error:
            raise SettingsError(
                f"data {path}: no dataset ({DOCUMENT}: {error.strerror})",
                "name a folder that `stream-scorer dataset build` wrote, or a file",
            ) from error
        try:
            document = json.loads(text)
            features = tuple(dict(spec) for spec in document["features"])
            # Datasets that were made before there were others do not state it.
            engine = int(document.get("engine", FIRST_ENGINE))
            rows = sum(int(part["rows"]) for part in document["parts"])
            names = [str(part["name"]) for part in document["parts"]]
            valid = document["format"] == DATASET_FORMAT and rows == document["rows"]
            valid &= engine in ENGINES and all(Path(name).name == name for name in names)
        except (ValueError, KeyError, TypeError, RecursionError):
            valid = False
        if not valid:
            raise SettingsError(
                f"data {path}: {DOCUMENT} is not that of a dataset of format {DATASET_FORMAT}",
                "build it again: stream-scorer dataset build",
            )
        return cls(path, features, engine, rows, document, hashlib.sha256(text).hexdigest())

    def take(self) -> LabelledData:
        """Read all rows, by event time; rows of the same time keep their order.

        Raises:
            SettingsError: A part is missing, differs from its digest, or has no such columns.
        """
        names = [str(spec["name"]) for spec in self.features]
        kinds = pa.schema({**_READ, **dict.fromkeys(names, pa.float64())})
        self._check_rows()
        features = np.empty((self.rows, len(names)))
        pieces: list[pa.Table] = []
        first = 0
        for piece in self._pieces(kinds):
            end = first + len(piece)
            for at, name in enumerate(names):
                features[first:end, at] = piece[name].to_numpy()
            pieces.append(piece.select(list(_READ)))
            first = end
        if not pieces:
            raise SettingsError(f"data {self.path}: holds no transactions", "build another dataset")
        table = pa.concat_tables(pieces)
        time = table["event_time"].to_numpy()
        if (np.diff(time) < 0).any():
            order = np.argsort(time, kind="stable")
            table, time, features = table.take(order), time[order], features[order]
        weight = table["weight"].to_numpy()
        state = np.where(table["is_fraud"].to_numpy(), np.uint8(FRAUD), np.uint8(GENUINE))
        return LabelledData(
            table, time, features, self.rows, {}, state,
            None if (weight == 1).all() else weight, outcomes=True,
        )  # fmt: skip

    def _check_rows(self) -> None:
        """Check the parts' numbers of rows, by which memory is reserved."""
        for part in self.document["parts"]:
            path = self.path / str(part["name"])
            try:
                rows = pq.read_metadata(path).num_rows
            except (OSError, pa.ArrowException) as error:
                raise self._unreadable(path, error) from error
            if rows != part["rows"]:
                raise SettingsError(
                    f"data {path}: has {rows:,} rows, and {DOCUMENT} has another number",
                    "build the dataset again",
                )

    @staticmethod
    def _unreadable(path: Path, error: Exception) -> SettingsError:
        what = " ".join(str(error).split())
        return SettingsError(f"data {path}: cannot be read ({what})", "build the dataset again")

    def _pieces(self, kinds: pa.Schema) -> Iterator[pa.Table]:
        """Yield the parts' row groups, after a check of each part's digest."""
        names = kinds.names
        for part in self.document["parts"]:
            path = self.path / str(part["name"])
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest != part["sha256"]:
                    raise SettingsError(
                        f"data {path}: differs from its digest in {DOCUMENT}",
                        "build the dataset again",
                    )
                with pq.ParquetFile(path) as parquet:
                    for group in range(parquet.num_row_groups):
                        rows = parquet.read_row_group(group, columns=names).select(names)
                        yield rows.cast(kinds)
            except (OSError, KeyError, ValueError, pa.ArrowException) as error:
                raise self._unreadable(path, error) from error


@dataclass(frozen=True, slots=True)
class DayRows:
    """The rows of one range of days; n rows.

    Attributes:
        days: From the first to the last day with rows.
        features: float64[n, m], C-contiguous.
        rows: Labels, amounts, cards and days; scores are 0 until there is a model.
        new_card: bool[n], which rows are of cards not known to be compromised.
    """

    days: Days
    features: Float64
    rows: Scored
    new_card: Mask

    @property
    def fraud(self) -> Int64:
        """int64[n], 1 for fraud."""
        return self.rows.fraud

    def scored(self, predictor: Predictor) -> Scored:
        """Return the rows with a model's scores."""
        return self.rows.with_scores(predictor.scores(self.features))


def cut_days(
    taken: LabelledData, split: Split, data: Path, plan: Plan
) -> tuple[DayRows, DayRows, DayRows]:
    """Return the rows of the days of training, validation and test, without unknown ones.

    Args:
        taken: All rows.
        split: The days.
        data: Where the rows are from, for messages.
        plan: Its currency.

    Raises:
        SettingsError: A range of days does not have both frauds and genuine transactions.
    """
    accepted = taken.table
    day = taken.time // _DAY_MS
    fraud = accepted["is_fraud"].fill_null(False).to_numpy()
    if not split.matured:
        # Training may not use labels that are known only after the test began; the test uses all.
        begun = np.full(len(accepted), number_of(split.test.first) * _DAY_MS)
        fraud = np.where(split.test.holds(day), fraud, known_frauds(accepted, begun))
    fraud, known = fraud.astype(np.int64), taken.state != UNKNOWN
    amount = in_units(taken.amounts, plan.minor_per_unit)
    cards = accepted["customer_id"].combine_chunks()
    new = new_cards(cards, day, fraud, split)
    card = pc.dictionary_encode(cards).indices.to_numpy().astype(np.int64)

    def part(name: str, days: Days) -> DayRows:
        at = days.holds(day) & known
        labels = fraud[at]
        if len(np.unique(labels)) != _BOTH:
            raise SettingsError(
                f"data {data}: the {name} days {days} hold {len(labels)} "
                f"transactions and {int(labels.sum())} frauds; both kinds are needed, and the "
                f"data are of {Days.of(day)}",
                f"name other days with --{name}",
            )
        weight = None if taken.weight is None else taken.weight[at]
        rows = Scored(np.zeros(len(labels)), labels, amount[at], card[at], day[at], weight)
        held = np.ascontiguousarray(taken.features[at])
        return DayRows(Days.of(day[at]), held, rows, new[at])

    return (
        part("train", split.train),
        part("validation", split.validation),
        part("test", split.test),
    )
