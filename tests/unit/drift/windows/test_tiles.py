"""Gaps and overlaps of the input's offsets are found, and forged ones blind nobody."""

from stream_scorer.drift.windows.tiles import GAP_LEAST, Tiles


def source(first: int, after: int, partition: int = 0) -> list[dict[str, int]]:
    return [{"partition": partition, "first_offset": first, "next_offset": after}]


def taken(tiles: Tiles, sources: list[dict[str, int]]) -> bool:
    fits = tiles.fit(sources)
    tiles.take(sources)
    return fits


def test_a_partition_that_is_continued_fits() -> None:
    tiles = Tiles()
    assert taken(tiles, source(70, 80))
    assert taken(tiles, source(80, 90))
    assert taken(tiles, source(0, 5, partition=1))
    assert (tiles.gaps, tiles.overlaps) == (0, 0)


def test_markers_of_transactions_are_not_a_gap() -> None:
    tiles = Tiles()
    taken(tiles, source(0, 10))
    assert GAP_LEAST == 1_001
    assert taken(tiles, source(1_010, 2_000))
    assert not taken(tiles, source(3_001, 5_000))
    assert (tiles.gaps, tiles.overlaps) == (1, 0)


def test_an_overlap_is_found() -> None:
    tiles = Tiles()
    taken(tiles, source(0, 10))
    assert not taken(tiles, source(9, 20))
    assert (tiles.gaps, tiles.overlaps) == (0, 1)
    assert taken(tiles, source(20, 30))


def test_forged_offsets_cost_two_marks_and_no_more() -> None:
    tiles = Tiles()
    taken(tiles, source(0, 10))
    assert not taken(tiles, source(0, 2**62))
    assert not taken(tiles, source(10, 20))
    assert taken(tiles, source(20, 30))
    assert tiles.gaps + tiles.overlaps == 2


def test_asking_changes_nothing() -> None:
    tiles = Tiles()
    taken(tiles, source(0, 10))
    assert not tiles.fit(source(5, 20))
    assert tiles.overlaps == 0
    assert tiles.fit(source(10, 20))


def test_deleted_summaries_are_one_gap_and_a_mark_for_each() -> None:
    tiles = Tiles()
    for partition in (0, 1):
        taken(tiles, source(0, 10, partition))
    tiles.lost()
    assert not taken(tiles.copy(), source(99_999, 100_000))
    assert not Tiles.read(tiles.document()).fit(source(99_999, 100_000))
    for partition in (0, 1):
        assert not taken(tiles, source(99_999, 100_000, partition))
        assert taken(tiles, source(100_000, 100_001, partition))
    assert taken(tiles, source(5, 6, partition=2))
    assert (tiles.gaps, tiles.overlaps) == (1, 0)


def test_a_copy_and_a_state_continue_alike() -> None:
    tiles = Tiles()
    taken(tiles, source(0, 10))
    copied, read = tiles.copy(), Tiles.read(tiles.document())
    taken(tiles, source(10, 20))
    for each in (copied, read):
        assert not taken(each, source(5, 20))
        assert each.document()["overlaps"] == 1
    assert tiles.overlaps == 0
