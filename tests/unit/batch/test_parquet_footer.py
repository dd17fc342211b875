"""Parquet files that stand behind one another in one file are read as one."""

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch.parquet_footer import cut_footer, join_footers


def _parts(counts: list[int], groups: int, **options: Any) -> tuple[bytes, pa.Table]:
    """Return a file of parts with as many rows each, and all its rows."""
    file = io.BytesIO()
    parts, tables = [], []
    for number, count in enumerate(counts):
        table = pa.table(
            {
                "number": pa.array(range(count), pa.int64()),
                "word": pa.array([f"{number % 3}"] * count, pa.string()),
                "list": pa.array([["a"], [], None] * count, pa.list_(pa.string())).slice(0, count),
            }
        )
        part = io.BytesIO()
        with pq.ParquetWriter(part, table.schema, **options) as writer:
            for _ in range(groups):
                writer.write_table(table)
                tables.append(table)
        start = file.seek(0, io.SEEK_END)
        footer = cut_footer(part)
        file.write(part.getvalue())
        parts.append((start, footer))
    file.write(join_footers(parts))
    return file.getvalue(), pa.concat_tables(tables)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False, "compression": "zstd"},
        {"write_page_index": True, "store_schema": False},
        {"version": "1.0", "data_page_version": "2.0"},
    ],
)
@pytest.mark.parametrize("counts", [[5], [5, 1, 300], [0, 4], [3] * 40])
def test_all_readers_find_all_rows(counts: list[int], options: dict[str, Any]) -> None:
    data, expected = _parts(counts, 3, **options)
    assert pq.read_table(io.BytesIO(data)).equals(expected)
    assert pl.read_parquet(io.BytesIO(data)).to_arrow().to_pylist() == expected.to_pylist()
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.metadata.num_rows == expected.num_rows
    assert file.metadata.num_row_groups == 3 * len(counts)
    starts = [
        file.metadata.row_group(at).column(0).data_page_offset
        for at in range(file.metadata.num_row_groups)
        if file.metadata.row_group(at).num_rows
    ]
    assert starts == sorted(set(starts))


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match="no part"):
        join_footers([])
    with pytest.raises(ValueError, match="no Parquet footer"):
        cut_footer(io.BytesIO(b"PAR1 and then nothing"))
    part = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), part)
    footer = cut_footer(part)
    with pytest.raises(ValueError, match="cut off"):
        join_footers([(0, footer[:-20])])
