"""Records with a MAC: a record that was not written with the key is refused."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError, StateError
from stream_scorer.settings import State
from stream_scorer.state.checkpoints import formats
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner, partitions_of
from stream_scorer.state.checkpoints.record_mac import OPEN, RecordMac, SealError, bare, read_seal
from stream_scorer.state.partitions.rejected_offsets import Rejected
from stream_scorer.state.stores.file_store import FileStore
from tests.support.state.stores import MemoryStore
from tests.unit.state.partitions.test_restorer import Input as RestoredInput
from tests.unit.state.partitions.test_restorer import bucket, replay, run

FIRST, SECOND = "11" * 32, "22" * 32
KEY = b"g/t/0/5/0"


def keys(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(mode)
    return path


@pytest.fixture
def seal(tmp_path: Path) -> RecordMac:
    return read_seal(keys(tmp_path / "key", FIRST), required=True)


def owned(seal: RecordMac) -> Owner:
    return Owner("g", "t", seal)


def made() -> Bucket:
    return Bucket(0, 5, 100, 4, 1, 7, 60, {}, bytes(range(30)))


def assembled(owner: Owner, records: list[tuple[bytes, bytes]]) -> dict[int, Bucket]:
    assembly = Assembly(owner, 0)
    assembly.add(records)
    return assembly.buckets()


def test_a_sealed_record_opens_and_has_a_distinct_format(seal: RecordMac) -> None:
    records = made().records(owned(seal))
    assert assembled(owned(seal), records) == {5: made()}
    assert partitions_of(owned(seal), *records[0]) == 4
    assert records[0][1].startswith(b"SMAC\x01\x00")
    assert bare(records[0][1]) == made().records(Owner("g", "t"))[0][1]


@pytest.mark.parametrize("at", [3, 4, 6, 20, 45, 46, 60, -1])
def test_any_changed_byte_is_refused(seal: RecordMac, at: int) -> None:
    ((key, value),) = made().records(owned(seal))
    changed = bytearray(value)
    changed[at] ^= 1
    with pytest.raises(
        SealError, match=r"bucket 5 part 0: its MAC|carries no MAC|key .* not known"
    ):
        assembled(owned(seal), [(key, bytes(changed))])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"SCKP", "carries no MAC"), (b"", "carries no MAC"), (b"SMAC", "is cut off"),
        (b"SMAC\x02\x00" + bytes(40), "of version 2"), (b"SMAC\x01\x00" + bytes(40), "not known"),
    ],
)  # fmt: skip
def test_values_without_a_mac_of_ours_are_refused(seal: RecordMac, value: bytes, told: str) -> None:
    with pytest.raises(SealError, match=told):
        seal.open(KEY, value)


@pytest.mark.parametrize("other", [b"g/t/0/6/0", b"g/t/1/5/0", b"h/t/0/5/0", b"g/t/0/5/", b""])
def test_a_value_cannot_be_moved_to_another_key(seal: RecordMac, other: bytes) -> None:
    value = seal.close(KEY, b"any value of the topic")
    assert seal.open(KEY, value) == b"any value of the topic"
    with pytest.raises(SealError, match="wrong"):
        seal.open(other, value)


def test_the_border_of_key_and_value_cannot_be_moved(seal: RecordMac) -> None:
    value = seal.close(b"a", b"bc")
    with pytest.raises(SealError, match="wrong"):
        seal.open(b"ab", value[:-2] + b"c")


def test_each_part_is_sealed(seal: RecordMac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PART_BYTES", 10)
    records = made().records(owned(seal))
    assert assembled(owned(seal), records) == {5: made()}
    plain = made().records(Owner("g", "t"))
    with pytest.raises(SealError, match="part 2: it carries no MAC"):
        assembled(owned(seal), [*records[:2], plain[2]])


def test_records_without_the_key_take_no_memory(seal: RecordMac) -> None:
    owner = owned(seal)
    assembly, rejected = Assembly(owner, 0), Rejected(owner, 0)
    tracemalloc.start()
    for number in range(64):
        assembly.add([(owner.key(0, number, 0), bytes(1 << 20))])
        rejected.add([(owner.rejected_key(0, number), bytes(1 << 20))])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1 << 20
    with pytest.raises(SealError, match="bucket 0 part 0: it carries no MAC"):
        assembly.buckets()
    with pytest.raises(SealError, match="carries no MAC"):
        rejected.settle()


def test_a_replaced_record_without_the_key_no_longer_counts(seal: RecordMac) -> None:
    ((key, value),) = made().records(owned(seal))
    assert assembled(owned(seal), [(key, b"forged"), (key, value)]) == {5: made()}


def test_there_is_no_bucket_above_the_last(seal: RecordMac) -> None:
    assert owned(seal).place(b"g/t/0/1023/0") == (0, 1023, 0)
    assert owned(seal).place(b"g/t/0/1024/0") is None


def test_keys_rotate_and_mac_less_records_are_replaced_live(tmp_path: Path) -> None:
    old, new = (read_seal(keys(tmp_path / name, *lines), required=True)
                for name, lines in (("old", [FIRST]), ("new", [SECOND, FIRST])))  # fmt: skip
    value = old.close(KEY, b"v")
    assert new.open(KEY, value) == b"v"
    with pytest.raises(SealError, match="not known"):
        old.open(KEY, new.close(KEY, b"v"))
    lenient = replace(old, required=False)
    assert lenient.open(KEY, b"SCKP plain") == b"SCKP plain"
    with pytest.raises(SealError, match="wrong"):
        lenient.open(KEY, value[:-1] + b"w")
    assert OPEN.open(KEY, value) == b"v"


@pytest.mark.parametrize("format_number", [1, 2])
def test_files_are_sealed_too(tmp_path: Path, seal: RecordMac, format_number: int) -> None:
    store = FileStore(f"file://{tmp_path}/store", owned(seal))
    store.write(0, replace(made(), format=format_number).records(owned(seal)))
    (records,) = store.read(0)
    assert assembled(owned(seal), records)[5].payload == made().payload  # type: ignore[arg-type]
    FileStore(f"file://{tmp_path}/store", Owner("g", "t")).write(0, made().records(Owner("g", "t")))
    (records,) = store.read(0)
    with pytest.raises(SealError, match="carries no MAC"):
        assembled(owned(seal), records)  # type: ignore[arg-type]


def test_a_restore_stops_and_names_the_command(
    seal: RecordMac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.state.partitions.test_restorer.OWNER", owned(seal))
    sealed, plain = MemoryStore(), MemoryStore()
    for store, owner in ((sealed, owned(seal)), (plain, Owner("g", "t"))):
        store.write(0, bucket(5, 90).records(owner))
    run(replay(sealed, RestoredInput()))
    with pytest.raises(StateError, match=r"carries no MAC.*state rebuild"):
        run(replay(plain, RestoredInput()))


@pytest.mark.parametrize(
    ("lines", "mode", "told"),
    [
        ([FIRST], 0o640, "others than its owner may read it"),
        (["aa" * 31], 0o600, "32 bytes or more"),
        ([FIRST, "no key"], 0o600, "32 bytes or more"),
        ([], 0o600, "holds no key"),
    ],
    ids=["shared", "short", "no hex", "empty"],
)
def test_a_file_that_is_not_a_key_is_refused(
    tmp_path: Path, lines: list[str], mode: int, told: str
) -> None:
    path = keys(tmp_path / "key", *lines, mode=mode)
    with pytest.raises(SettingsError, match=told):
        read_seal(path, required=True)


def test_settings_that_check_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no meaning without mac_key_file"):
        State(mac_required=False)
