"""JSON lines are read in pieces of bounded size."""

from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.tables import pieces
from stream_scorer.tables.files import local_file, read_pieces

LINE = b'{"a": "%s"}\n'


def _read(path: Path) -> list[int]:
    found = list(read_pieces(local_file(path), ["a"], 0))
    assert [piece.first for piece in found] == [
        sum(piece.rows for piece in found[:number]) for number in range(len(found))
    ]
    return [piece.rows for piece in found]


def test_a_piece_has_a_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LINES_BYTES_MOST", 100)
    path = tmp_path / "d.jsonl"
    path.write_bytes(LINE % (b"x" * 31) * 5)
    assert _read(path) == [3, 2]
    monkeypatch.setattr(pieces, "PIECE_ROWS", 2)
    assert _read(path) == [2, 2, 1]


def test_a_line_that_is_too_long_is_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LINES_BYTES_MOST", 100)
    path = tmp_path / "d.jsonl"
    path.write_bytes(LINE % (b"x" * 90))
    assert _read(path) == [1]
    path.write_bytes(LINE % b"x" + LINE % (b"x" * 91))
    with pytest.raises(SettingsError, match=r"d\.jsonl: line 2 has more than 100 bytes"):
        _read(path)
