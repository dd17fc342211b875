"""The column ``outcome`` of a job's input: what the published decisions of a stream were.

A blocked transaction yields no chargeback. Under a label policy, one without a label is therefore
unknown in the rows of terminals. A file without the column does not say which ones were blocked, so
nothing is unknown then.
"""

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.core.events.batch import Outcome
from stream_scorer.errors import SettingsError
from stream_scorer.tables.columns import as_read, fit
from stream_scorer.tables.files import InputFile, columns_of, read_pieces
from stream_scorer.tables.pieces import Piece

OUTCOME: Final = "outcome"
_NAMES: Final = tuple(outcome.name for outcome in Outcome)


def have_outcomes(files: Sequence[InputFile], *, mapped: bool) -> bool:
    """Return whether files have the column. JSON lines have it if one of the first rows does.

    Args:
        files: The input.
        mapped: Whether a mapping reads the fields.

    Raises:
        SettingsError: Only some files have it; or there is a mapping, with which it is not read.
    """
    having = [file for file in files if _has(file)]
    if not having:
        return False
    if mapped:
        raise SettingsError(
            f"{having[0].name}: column {OUTCOME!r} is not read where events.toml maps the fields: "
            "a blocked transaction without a label would count as genuine in the rows of terminals",
            "leave the column out to accept that; the report then has outcome_column: 0",
        )
    without = [file for file in files if file not in having]
    if without:
        raise SettingsError(
            f"{without[0].name}: column {OUTCOME!r} is missing, and {having[0].name} has it",
            "give it to all files, or to none",
        )
    return True


def _has(file: InputFile) -> bool:
    present = columns_of(file, [OUTCOME])
    if present is not None:
        return bool(present)
    first = next(iter(read_pieces(file, [OUTCOME], 0)), None)
    column = None if first is None else first.columns.get(OUTCOME)
    return column is not None and any(
        as_read(column, row) is not None for row in range(len(column))
    )


def blocked_of(file: InputFile, piece: Piece) -> pa.Array:
    """Return bool[n]: which rows of a piece were blocked; one without an outcome was not.

    Args:
        file: The piece's file.
        piece: Its rows.

    Raises:
        SettingsError: A value is not an outcome; names the row.
    """
    raw = piece.columns.get(OUTCOME)
    if raw is None:
        return pa.array(np.zeros(piece.rows, np.bool_))
    column, unfit = fit(raw, pa.string())
    known = pc.is_in(column, pa.array([*_NAMES, "", None], pa.string()))
    wrong = {*unfit, *np.flatnonzero(~known.to_numpy(zero_copy_only=False)).tolist()}
    for row in sorted(wrong - set(piece.faults)):
        raise SettingsError(
            f"{file.name}: row {piece.first + row + 1}: column {OUTCOME!r}: "
            f"{json.dumps(as_read(raw, row))} is not one of {', '.join(_NAMES)}",
            "correct the value",
        )
    return pc.equal(column, Outcome.BLOCK.name).fill_null(False)
