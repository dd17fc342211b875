"""The compiled C kernel has the stream's bits, by gcc and by clang, and takes no hostile image."""

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stream_scorer.edge.export.golden_rows import results
from stream_scorer.edge.native import image
from stream_scorer.edge.native.image import RESULT, TableImage
from tests.support.edge.edge_models import (
    NO_POLICY,
    SEGMENTED,
    EdgeCase,
    case_of,
    ensembles,
    random_cases,
    segments,
)
from tests.support.edge.native_library import NativeScorer, RefusedImage, compiled
from tests.support.effort import examples

pytestmark = pytest.mark.toolchain

NOT_ALIGNED, NOT_AN_IMAGE, OTHER_ABI, TRUNCATED, DAMAGED, MALFORMED = range(-1, -7, -1)


@pytest.fixture(scope="module", params=["gcc", "clang"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(tmp_path_factory.mktemp("kernel"), compiler=request.param)


def compare(library: Any, case: EdgeCase) -> int:
    """Compare all results; return how many rows the model took."""
    count = len(case.rows)
    none = np.zeros((count, 0), np.uint16)
    want = results(case.predictor, case.rows, NO_POLICY, (), np.zeros(count, np.int64), none)
    made = NativeScorer(library, case.image).results(case.rows)
    for name in RESULT.names or ():
        assert made[name].tobytes() == want[name].tobytes(), name
    return int((want["failed"] == 0).sum())


@pytest.mark.parametrize("kind", list(ensembles()))
def test_every_kind_of_body_has_the_streams_bits(library: Any, kind: str) -> None:
    assert compare(library, case_of(ensembles()[kind], rows=3_000)) > 0


def test_random_models_have_the_streams_bits(library: Any) -> None:
    taken = [compare(library, case_of(model)) for model in random_cases(0, examples(300))]
    assert sum(count > 0 for count in taken) > 0.8 * len(taken)


def test_segments_are_the_first_that_fit(library: Any) -> None:
    case = case_of(ensembles()["walked"], SEGMENTED)
    scorer = NativeScorer(library, case.image)
    numbers = np.random.default_rng(3)
    amounts = numbers.choice([0, 1_999, 2_000, 50_000, 50_001, 10**9], len(case.rows))
    values = np.column_stack([
        numbers.integers(0, len(field.values) + 1, len(case.rows)) for field in SEGMENTED.fields
    ]).astype(np.uint16)  # fmt: skip
    want = results(case.predictor, case.rows, SEGMENTED, segments(), amounts, values)
    assert scorer.results(case.rows, amounts, values).tobytes() == want.tobytes()
    assert set(want["segment"].tolist()) == {-1, 0, 1, 2, 3}


def test_texts_have_the_numbers_of_the_policy(library: Any) -> None:
    scorer = NativeScorer(library, case_of(ensembles()["weights"], SEGMENTED).image)
    assert (scorer.fields, scorer.segments) == (3, len(segments()))
    for number, field in enumerate(SEGMENTED.fields):
        for value, text in enumerate(field.values):
            assert scorer.value(number, text) == value
        for other in ("", "ECO", "ECOMM", None):
            assert scorer.value(number, other) == len(field.values)
    assert scorer.value(3, "ECOM") < 0


def test_an_event_is_needed_only_for_segments(library: Any) -> None:
    scorer = NativeScorer(library, case_of(ensembles()["weights"], SEGMENTED).image)
    with pytest.raises(AssertionError, match="-7"):
        scorer.results(np.zeros((1, 4)))


def sealed(data: bytearray) -> bytes:
    """Return an image with its length and checksum right."""
    struct.pack_into("<Q", data, 16, len(data))
    struct.pack_into("<I", data, 12, zlib.crc32(memoryview(data)[16:]))
    return bytes(data)


def code_of(library: Any, data: bytes) -> int:
    try:
        NativeScorer(library, data)
    except RefusedImage as error:
        return error.code
    return 0


def test_faults_of_an_image_have_codes(library: Any) -> None:
    data = case_of(ensembles()["32-bit masks"]).image
    changed = bytearray(data)
    changed[-100] ^= 1
    other = bytearray(data)
    other[8] = 2
    assert code_of(library, data) == 0
    assert code_of(library, data[:1]) == code_of(library, data[:119]) == TRUNCATED
    assert code_of(library, data[:-64]) == TRUNCATED
    assert code_of(library, data + bytes(64)) == TRUNCATED
    assert code_of(library, b"X" + data[1:]) == NOT_AN_IMAGE
    assert code_of(library, bytes(other)) == OTHER_ABI
    assert code_of(library, bytes(changed)) == DAMAGED


def test_an_image_at_an_odd_address_is_refused(library: Any) -> None:
    data = np.frombuffer(case_of(ensembles()["weights"]).image, np.uint8)
    memory = np.zeros(len(data) + 128, np.uint8)
    start = -memory.ctypes.data % 64 + 8
    memory[start : start + len(data)] = data
    model = bytes(library.ss_model_size())
    assert library.ss_open(model, memory.ctypes.data + start, len(data)) == NOT_ALIGNED


def fields_of(data: bytes) -> Iterator[tuple[str, int, np.dtype[Any]]]:
    """Yield each number of the header, parts, steps and fields: its name, place and type."""
    held = TableImage(data)
    tables: list[tuple[int, np.dtype[Any], int]] = [
        (0, image.HEADER, 1),
        (int(held.header["parts_at"]), image.PART, len(held.parts)),
        (int(held.header["steps_at"]), image.STEP, len(held.steps)),
        (int(held.header["fields_at"]), image.FIELD, len(held.fields)),
    ]
    for start, kind, count in tables:
        fields: Any = kind.fields
        for row in range(count):
            for name in kind.names or ():
                dtype, at = fields[name][:2]
                if name not in ("magic", "abi", "checksum", "bytes", "zero"):
                    yield name, start + row * kind.itemsize + at, dtype


REFUSED = {
    "features", "parts", "steps", "fields", "segments", "edges", "on_model_error", "parts_at",
    "steps_at", "fields_at", "edges_at", "edge_bits_at", "limits_at", "name_starts_at", "names_at",
    "kind", "width", "first_step", "before", "after", "single", "trees", "places", "groups", "used",
    "lines", "columns_at", "cuts_at", "places_at", "groups_at", "used_at", "table_at", "values_at",
    "bits_at", "starts_at", "texts_at", "values",
}  # fmt: skip
"""The numbers of an image of masks that no image may have as all ones."""


def test_every_number_outside_of_the_image_is_refused(library: Any) -> None:
    data = case_of(ensembles()["32-bit masks"], SEGMENTED).image
    refused = set()
    for name, at, dtype in fields_of(data):
        if dtype.kind != "u":
            continue
        changed = bytearray(data)
        changed[at : at + dtype.itemsize] = b"\xff" * dtype.itemsize
        if code_of(library, sealed(changed)) == MALFORMED:
            refused.add(name)
    assert refused >= REFUSED, REFUSED - refused


ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 31, 33, 63, 65, 1 << 16, 1 << 31, (1 << 32) - 1)


@pytest.mark.parametrize("kind", ["32-bit masks", "walked sets", "integers", "a table"])
def test_no_number_of_an_image_ends_the_program(library: Any, kind: str) -> None:
    case = case_of(ensembles()[kind], SEGMENTED, rows=5)
    for name, at, dtype in fields_of(case.image):
        for number in ODD_NUMBERS if dtype.kind == "u" else ():
            changed = bytearray(case.image)
            changed[at : at + dtype.itemsize] = number.to_bytes(dtype.itemsize, "little")
            code = code_of(library, sealed(changed))
            assert code in {0, MALFORMED}, (name, number)


HOSTILE: dict[str, tuple[str, str, Any, int, Any]] = {
    "a feature that is not there": ("32-bit masks", "columns_at", image.COLUMN, 0, (4, 0, 1, 0, 2)),
    "a negative feature": ("32-bit masks", "columns_at", image.COLUMN, 0, (-1, 0, 1, 0, 2)),
    "cuts before the start": ("32-bit masks", "columns_at", image.COLUMN, 0, (0, -1, 1, 0, 2)),
    "too many levels": ("32-bit masks", "columns_at", image.COLUMN, 0, (0, 0, 31, 0, 2)),
    "a place outside": ("32-bit masks", "columns_at", image.COLUMN, 0, (0, 0, 1, 0, 1 << 20)),
    "a place that is negative": ("32-bit masks", "columns_at", image.COLUMN, 0, (0, 0, 1, -1, 2)),
    "a line outside": ("32-bit masks", "places_at", "<u2", 3, 65_535),
    "a group that goes back": ("32-bit masks", "groups_at", "<i4", 2, -5),
    "columns that are not there": ("32-bit masks", "used_at", "<i4", 0, 99),
    "a child outside": ("walked", "nodes_at", image.NODE, 0, (0.5, 1 << 20, 0, 0)),
    "a child before the start": ("walked", "nodes_at", image.NODE, 0, (0.5, -1, 0, 0)),
    "a node of no feature": ("walked", "nodes_at", image.NODE, 0, (0.5, 1, 4, 0)),
    "a node of a negative feature": ("walked", "nodes_at", image.NODE, 0, (0.5, 1, -1, 0)),
    "a third child": ("walked", "nodes_at", image.NODE, 0, (0.5, 1, 0, 2)),
    "a root outside": ("walked", "roots_at", "<i4", 0, 1 << 20),
    "a negative depth": ("walked", "depths_at", "<i4", 0, -1),
    "cuts that go back": ("walked sets", "first_cut_at", "<u4", 1, 0xFFFF_FFFF),
    "a column that is not there": ("integers", "first_at", "<i4", 1, 4),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(HOSTILE))
def test_an_image_that_would_lead_outside_is_refused(library: Any, fault: str) -> None:
    kind, name, dtype, index, value = HOSTILE[fault]
    data = case_of(ensembles()[kind]).image
    held = TableImage(data)
    source: Any = held.steps if name == "first_at" else held.parts
    changed = bytearray(data)
    at = int(source[name][0])
    size = np.dtype(dtype).itemsize
    changed[at + index * size : at + (index + 1) * size] = np.array([value], dtype).tobytes()
    assert code_of(library, sealed(changed)) == MALFORMED


def test_no_event_leads_outside_of_the_policy(library: Any) -> None:
    case = case_of(ensembles()["weights"], SEGMENTED, rows=50)
    values = np.full((50, 3), 65_535, np.uint16)
    amounts = np.full(50, np.iinfo(np.int64).max)
    found = NativeScorer(library, case.image).results(case.rows, amounts, values)
    assert set(found["segment"].tolist()) == {-1}


def test_bits_that_do_not_exist_stay_inside(library: Any) -> None:
    # A line of the table in which no leaf is possible.
    case = case_of(ensembles()["32-bit masks"])
    changed = bytearray(case.image)
    part = TableImage(case.image).parts[0]
    at = int(part["table_at"])
    changed[at : at + int(part["lines"]) * 64] = bytes(int(part["lines"]) * 64)
    found = NativeScorer(library, sealed(changed)).results(case.rows)
    assert np.isfinite(found["margin"]).all()


def test_mutated_images_end_in_a_code_or_in_results(library: Any) -> None:
    numbers = random.Random(5)  # noqa: S311 reproducible faults, no secret
    codes = set()
    for kind in ("32-bit masks", "walked sets", "integers", "a table"):
        case = case_of(ensembles()[kind], SEGMENTED, rows=20)
        places = [at for _, at, _ in fields_of(case.image)]
        for _ in range(examples(400)):
            changed = bytearray(case.image)
            for _ in range(numbers.randint(1, 3)):
                low = numbers.choice(places)
                at = numbers.choice([low, low + 1, numbers.randrange(120, len(changed))])
                changed[at] = numbers.choice([0, 1, 0x7F, 0x80, 0xFF, numbers.randrange(256)])
            data = sealed(changed)
            code = code_of(library, data)
            codes.add(code)
            if code == 0:
                amounts, values = np.zeros(20, np.int64), np.zeros((20, 99), np.uint16)
                scorer = NativeScorer(library, data)
                if scorer.features == 4 and scorer.fields <= 99:
                    scorer.results(case.rows, amounts, values[:, : scorer.fields])
    assert codes == {0, MALFORMED}
