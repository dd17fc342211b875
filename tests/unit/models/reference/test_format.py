"""reference.json: written canonically, read back equal, and refused where it is not one."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.reference.build import build_reference
from stream_scorer.models.reference.contract import FleetReference, Season
from stream_scorer.models.reference.format import digest_of, read_reference, write_reference
from tests.support.models.reference_rows import job_of, rows_of

LABEL = "fraud:1.0.0"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def data() -> bytes:
    job = job_of(("channel=web", "channel=other"))
    return write_reference(build_reference(rows_of(8, segments=2), job).reference)


def changed(data: bytes, change: Change) -> bytes:
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


def test_what_is_read_is_written_again_with_the_same_bytes(data: bytes) -> None:
    found = read_reference(data, LABEL)
    assert write_reference(found) == data
    assert found.digest == digest_of(data)
    assert len(found.digest) == 16
    assert np.isnan(found.volume).sum() == 0
    assert [each.field.name for each in found.fields][:4] == [
        "score", "outcome", "amount", "currency",
    ]  # fmt: skip


def test_a_volume_that_is_not_known_is_null(data: bytes) -> None:
    found = read_reference(data, LABEL)
    volume = found.volume.copy()
    volume[3] = np.nan
    text = write_reference(replace(found, volume=volume))
    assert json.loads(text)["volume"][3] is None
    assert np.isnan(read_reference(text, LABEL).volume[3])


def test_a_season_by_hour_of_the_week_is_kept(data: bytes) -> None:
    found = read_reference(data, LABEL)
    week = np.linspace(-0.1, 0.1, 168)
    season = Season(np.zeros(24), np.zeros(7), week, 9.0, 0.01)
    streams = (replace(found.streams[0], season=season), *found.streams[1:])
    again = read_reference(write_reference(replace(found, streams=streams)), LABEL)
    assert again.streams[0].season is not None
    assert again.streams[0].season.week.tolist() == week.tolist()
    assert not again.streams[0].season.flat


def test_a_reference_may_have_a_median_or_be_older(data: bytes) -> None:
    found = read_reference(data, LABEL)
    fleet = FleetReference(0.25, 0.5, 400)
    text = write_reference(replace(found, fleet=fleet))
    assert read_reference(text, LABEL).fleet == fleet
    older = changed(text, lambda document: document.pop("fleet"))
    assert read_reference(older, LABEL).fleet is None


def test_a_reference_of_another_version_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"bundle fraud:1\.0\.1: reference\.json is of fraud:1"):
        read_reference(data, "fraud:1.0.1")


def field(number: int, key: str, value: object) -> Change:
    return lambda d: d["fields"][number].update({key: value})


def stream(key: str, value: object) -> Change:
    return lambda d: d["streams"][0].update({key: value})


FLEET = {"scale": 0.25, "phi": 0.5, "windows": 400}
SEASON = {"hour": [], "day": [], "week": [], "weeks": 2, "error": 0}
HOSTILE: dict[str, tuple[Change, str]] = {
    "format": (lambda d: d.update(format=2), "format"),
    "further key": (lambda d: d.update(more=1), "the document: must have the keys"),
    "missing key": (lambda d: d.pop("eta"), "the document: must have the keys"),
    "eta": (lambda d: d.update(eta=1.5), "eta"),
    "boolean": (lambda d: d.update(eta=True), "eta"),
    "window": (lambda d: d.update(window_ms=0), "window_ms"),
    "text": (lambda d: d.update(model=5), "model"),
    "control": (lambda d: d.update(segments=["a\x1b[2J", "b"]), "segments: has control"),
    "segments": (lambda d: d.update(segments=[str(n) for n in range(64)]), "segments"),
    "segment twice": (lambda d: d.update(segments=["a", "a"]), "segments: a value is there twice"),
    "fields": (lambda d: d.update(fields={}), "fields: is not a list"),
    "no fields": (lambda d: d.update(fields=[]), "must begin with score"),
    "order": (lambda d: d["fields"].reverse(), "must begin with score"),
    "many fields": (lambda d: d.update(fields=d["fields"] * 20), "fields"),
    "name twice": (field(4, "name", "score"), "a name is there twice"),
    "source twice": (field(4, "source", "score"), "a source is there twice"),
    "source": (field(4, "source", "file:/etc/passwd"), "fields.4.source"),
    "kind": (field(0, "kind", "other"), "fields.0.kind"),
    "kind of source": (field(4, "kind", "outcome"), "fields.4.source"),
    "edges": (field(0, "edges", [2.0, 1.0]), "fields.0.edges: do not ascend"),
    "many edges": (field(0, "edges", list(range(10))), "fields.0.edges: has 10 values"),
    "edge": (field(0, "edges", ["1"]), "fields.0.edges: is not a number"),
    "range": (field(0, "low", 99.0), "fields.0.low: is more than high"),
    "counts": (field(0, "counts", [[1]]), "fields.0.counts: is not 3 lists of 12"),
    "count": (field(1, "counts", [[1, 2, -3]] * 3), "fields.1.counts: is not a whole"),
    "fraction": (field(1, "counts", [[1, 2, 0.5]] * 3), "fields.1.counts: is not a whole"),
    "reach": (field(0, "reach_ms", -1), "fields.0.reach_ms"),
    "values": (field(0, "values", ["a"]), "fields.0.values"),
    "key": (stream("stream", ["score", "level"]), "streams.0.stream"),
    "unknown segment": (stream("stream", ["score", "level", "x"]), "unknown field or segment"),
    "unknown field": (stream("stream", ["x", "level", "all"]), "unknown field or segment"),
    "stream twice": (lambda d: d["streams"].append(d["streams"][0]), "a stream is there twice"),
    "many streams": (lambda d: d.update(streams=[{}] * 4_097), "streams: has 4097 values"),
    "band": (stream("low", 1.9), "streams.0.mean: is outside of its band"),
    "scale": (stream("scale", 0), "streams.0.scale"),
    "phi": (stream("phi", 1), "streams.0.phi"),
    "rows": (stream("rows", 1.5), "streams.0.rows"),
    "season": (stream("season", []), "streams.0.season: must have the keys"),
    "hours": (stream("season", SEASON | {"hour": [0.1]}), "season.hour: has 1 numbers"),
    "effect": (stream("season", SEASON | {"day": [2] * 7}), "season.day: is not a number"),
    "volume": (lambda d: d.update(volume=[1.0]), "volume: has 1 numbers, not 168"),
    "volume text": (lambda d: d.update(volume=["1"] * 168), "volume: is not a number"),
    "rejects": (lambda d: d.update(rejects={"DUPLICATE": 2}), "rejects.DUPLICATE"),
    "fleet": (lambda d: d.update(fleet=FLEET | {"more": 1}), "fleet: must have the keys"),
    "fleet scale": (lambda d: d.update(fleet=FLEET | {"scale": 0}), "fleet.scale: is 0"),
    "fleet phi": (lambda d: d.update(fleet=FLEET | {"phi": 1}), "fleet.phi"),
    "fleet windows": (lambda d: d.update(fleet=FLEET | {"windows": -1}), "fleet.windows"),
    "large": (lambda d: d.update(eta=10**400), "eta"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_reference_is_refused_by_its_key(data: bytes, name: str) -> None:
    change, expected = HOSTILE[name]
    with pytest.raises(ModelError) as refused:
        read_reference(changed(data, change), LABEL)
    assert expected in str(refused.value)
    assert str(refused.value).startswith("bundle fraud:1.0.0: reference.json: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "Expecting value"),
        (b"[]", "is not a JSON object"),
        (b'{"eta":NaN}', "NaN is not a JSON number"),
        (b'{"eta":1,"eta":2}', "there twice"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
        (b"\xff", "decode"),
        (b" " * (4 * 1024 * 1024 + 1), "is larger than 4 MiB"),
    ],
)
def test_text_that_is_not_a_document_is_refused(text: bytes, expected: str) -> None:
    with pytest.raises(ModelError) as refused:
        read_reference(text, LABEL)
    assert expected in str(refused.value)


def test_an_infinite_number_is_refused(data: bytes) -> None:
    text = data.replace(b'"eta":0.05', b'"eta":1e999')
    with pytest.raises(ModelError, match="eta"):
        read_reference(text, LABEL)


def test_a_reference_of_more_than_four_mebibytes_is_not_written(data: bytes) -> None:
    found = read_reference(data, LABEL)
    with pytest.raises(ModelError, match="watch fewer segments"):
        write_reference(replace(found, streams=found.streams * 500))
