"""A CSV row with values that are not UTF-8 is shown once, however many such values it has."""

import time
from pathlib import Path

from stream_scorer.tables.files import all_columns, local_file, read_pieces

SECONDS = 2.0
WIDTH, ROWS = 100, 200


def test_values_that_are_not_utf8_take_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    header = b",".join(b"c%d" % number for number in range(WIDTH))
    path.write_bytes(header + b"\n" + (b",".join([b"\xff"] * WIDTH) + b"\n") * ROWS)
    file = local_file(path)
    begun = time.thread_time()
    pieces = list(read_pieces(file, all_columns(file), 0))
    assert time.thread_time() - begun < SECONDS
    told = [fault[0] for piece in pieces for fault in piece.faults.values()]
    assert told == ["c0 is not UTF-8, or has U+FDD0"] * ROWS
