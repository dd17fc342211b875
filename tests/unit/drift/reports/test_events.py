"""An event is the same whether it comes from a snapshot or from the topic."""

from datetime import UTC, datetime

import pytest

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder
from stream_scorer.drift.monitor.events import event_of as fields_of
from stream_scorer.drift.reports.events import event_of, event_of_record, find_event, until_ms
from stream_scorer.errors import SettingsError
from stream_scorer.registry.sources import reader_schema
from tests.support.drift.documents import alarm
from tests.support.drift.event_records import record_of
from tests.support.drift.monitors import FILES

NOW = 1_700_000_000.0


def test_a_record_and_an_alarm_are_the_same_event() -> None:
    assert event_of_record(record_of(alarm())) == event_of(alarm())


def test_a_record_of_version_1_is_readable() -> None:
    first = datetime(1970, 1, 1, tzinfo=UTC)
    record = record_of(alarm(),
        event_id="", episode="", severity="note", field="", onset=first, onset_low=first,
        onset_high=first, labels=[], before=[], after=[], also=[], guaranteed_error=None,
        calibrated_error=None,
    )  # fmt: skip
    event = event_of_record(record)
    assert event["onset"] is None
    assert (event["before"], event["after"]) == (0.02, 0.05)


def test_a_record_of_version_2_has_no_second_opinions() -> None:
    told = alarm()
    assert told.river
    second = RecordCodec(14, reader_schema("drift-event.v2"))
    third = RecordCodec(16, reader_schema("drift-event.v3"))
    decoder = RecordDecoder(FILES, reader_schema("drift-event.v3"))
    of_2, of_3 = (
        event_of_record(decoder.decode(each.encode(fields_of(told)))) for each in (second, third)
    )
    assert of_3["river"] == event_of(told)["river"]
    assert of_2 == {**of_3, "river": []}


def test_numbers_that_json_lacks_are_null() -> None:
    event = event_of(alarm(before=float("nan"), effect=float("inf")))
    assert event["before"] is event["effect"] is None


EVENTS = [{"event_id": each} for each in ("0123456789abcdef", "0123ffffffffffff", "", "77777777")]


def test_an_event_is_named_by_its_first_digits() -> None:
    assert find_event(EVENTS, "01234") == "0123456789abcdef"
    assert find_event(EVENTS, "0123ffffffffffff") == "0123ffffffffffff"
    assert find_event([*EVENTS, EVENTS[0]], "01234") == "0123456789abcdef"
    # One that the snapshot has comes first, so a forged one does not hide it.
    assert find_event(EVENTS, "0123", EVENTS[:1]) == "0123456789abcdef"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("0123", "2 events"), ("012", "no event"), ("", "no event"), ("9999", "no event")],
)
def test_another_name_is_refused(wanted: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        find_event(EVENTS, wanted)


@pytest.mark.parametrize(
    ("text", "until"),
    [("4h", NOW + 4 * 3_600), ("1.5d", NOW + 36 * 3_600), ("2023-11-15T00:00:00Z", 1_700_006_400)],
)
def test_a_snooze_ends_at_a_time(text: str, until: float) -> None:
    assert until_ms(text, lambda: NOW) == until * 1_000


@pytest.mark.parametrize(
    "text",
    ["", "h", "x", "-1h", "0h", "nanh", "infd", "400d", "2023-11-15T00:00:00", "2020-01-01T00:00Z"],
)
def test_another_end_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--until"):
        until_ms(text, lambda: NOW)
