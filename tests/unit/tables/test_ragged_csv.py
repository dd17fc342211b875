"""A CSV file of ragged rows ends within a limit: Arrow returns nothing before a valid row."""

from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.tables import formats
from stream_scorer.tables.files import all_columns, local_file, read_pieces
from stream_scorer.tables.formats import RAGGED_CHARACTERS

GOOD = b"1,2,3\n"
MOST = 2_000


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit of rows, so that a test takes milliseconds."""
    monkeypatch.setattr(formats, "RAGGED_ROWS", MOST)


def _read(tmp_path: Path, *rows: bytes) -> tuple[int, int]:
    """Return how many rows and how many ragged rows a file has."""
    path = tmp_path / "d.csv"
    path.write_bytes(b"a,b,c\n" + b"".join(rows))
    file = local_file(path)
    count = ragged = 0
    for piece in read_pieces(file, all_columns(file), 0):
        assert piece.first == count
        count += piece.rows
        ragged += len(piece.faults)
    return count, ragged


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("before", [b"", GOOD])
@pytest.mark.parametrize("after", [b"", GOOD])
def test_as_many_ragged_rows_as_the_limit_are_read(
    before: bytes, after: bytes, tmp_path: Path
) -> None:
    found = _read(tmp_path, before, b"1\n" * MOST, after)
    assert found == (MOST + bool(before) + bool(after), MOST)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("after", [b"", GOOD])
def test_more_ragged_rows_are_a_damaged_file(after: bytes, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"d\.csv: more than 2,000 rows .* row 2002 is"):
        _read(tmp_path, GOOD, b"1\n" * (MOST + 1), after)


def test_a_file_of_long_ragged_rows_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = b"1," + b"x" * 400_000 + b"\n"
    rows = RAGGED_CHARACTERS // len(row)
    assert _read(tmp_path, row * rows) == (rows, rows)
    taken: list[int] = []
    read = formats._Utf8.read

    def counted(self: formats._Utf8, size: int) -> bytes:
        data = read(self, size)
        taken.append(len(data))
        return data

    monkeypatch.setattr(formats._Utf8, "read", counted)
    path = tmp_path / "d.csv"
    path.write_bytes(b"a,b,c\n" + row * 20 * rows)
    with pytest.raises(SettingsError, match=r"more than 16,777,216 characters of rows"):
        list(read_pieces(local_file(path), ["a", "b", "c"], 0))
    # Arrow reads some blocks ahead.
    assert RAGGED_CHARACTERS < sum(taken) < path.stat().st_size - RAGGED_CHARACTERS


def test_ragged_rows_between_valid_ones_have_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_CSV_BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(formats, "RAGGED_CHARACTERS", 1 << 16)
    block = b"1\n" * 1_000 + GOOD
    assert _read(tmp_path, block * 100) == (100 * 1_001, 100 * 1_000)
