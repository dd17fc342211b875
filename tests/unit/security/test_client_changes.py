"""Changes of the API's clients: keys are shown once, rotated with an overlap, and recorded."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream_scorer.errors import SettingsError, StreamScorerError
from stream_scorer.security.api_keys import digest_of, key_id_of
from stream_scorer.security.audit import AuditLog
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.security.client_changes import ClientChanges, listed_clients, moment
from stream_scorer.security.clients_file import load_clients
from tests.support.serving.access import clients_in, make_key

if TYPE_CHECKING:
    from collections.abc import Callable


def recorded(tmp_path: Path) -> ClientChanges:
    return ClientChanges(tmp_path / "clients.json", AuditTrail(AuditLog(tmp_path / "audit.log")))


def lines(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]


def keys_of(tmp_path: Path, name: str = "shop") -> list[str]:
    return [key.id for key in load_clients(tmp_path / "clients.json")[0].clients[name].keys]


def test_only_the_hash_of_a_key_is_stored(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    text = (tmp_path / "clients.json").read_text()
    assert key not in text
    assert key[17:] not in text
    assert digest_of(key).hex() in text


def test_the_same_client_is_not_added_twice(tmp_path: Path) -> None:
    make_key(tmp_path)
    before = (tmp_path / "clients.json").read_bytes()
    with pytest.raises(SettingsError, match="is there already"):
        make_key(tmp_path, scopes=["admin"])
    assert (tmp_path / "clients.json").read_bytes() == before


def test_a_client_without_key_needs_a_certificate(tmp_path: Path) -> None:
    changes = clients_in(tmp_path)
    with pytest.raises(SettingsError, match="no key and no certificate"):
        changes.add("shop", with_key=False, scopes=["score"])
    made = changes.add("shop", with_key=False, scopes=["score"], certificate_subjects=("CN=shop",))
    assert made is None
    assert keys_of(tmp_path) == []


@pytest.mark.parametrize("name", ["a b", "", "x" * 65, "open", "../x", "token:x", "a\n"])
def test_a_wrong_name_changes_and_records_nothing(tmp_path: Path, name: str) -> None:
    recorded(tmp_path).add("kept", scopes=["score"])
    before = (tmp_path / "clients.json").read_bytes()
    with pytest.raises(SettingsError):
        recorded(tmp_path).add(name, scopes=["score"])
    assert (tmp_path / "clients.json").read_bytes() == before
    assert [line["subject"] for line in lines(tmp_path)] == ["kept"]


def test_an_old_key_overlaps_the_new_one_and_then_expires(tmp_path: Path) -> None:
    first = make_key(tmp_path)
    second = clients_in(tmp_path).rotate("shop", overlap=timedelta(hours=2))
    old, new = load_clients(tmp_path / "clients.json")[0].clients["shop"].keys
    assert (old.id, new.id) == (key_id_of(first), second.id)
    assert new.expires is None
    assert old.expires is not None
    left = old.expires - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)


def test_a_third_key_has_to_wait_for_the_first(tmp_path: Path) -> None:
    make_key(tmp_path)
    changes = clients_in(tmp_path)
    second = changes.rotate("shop", overlap=timedelta(hours=1))
    before = keys_of(tmp_path)
    with pytest.raises(SettingsError, match="has 2 valid keys"):
        changes.rotate("shop", overlap=timedelta(hours=1))
    assert keys_of(tmp_path) == before
    # In an emergency, both are replaced.
    third = changes.rotate("shop", overlap=timedelta(0))
    assert keys_of(tmp_path) == [third.id]
    assert second.id != third.id


def test_rotation_does_not_lengthen_the_life_of_a_key(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    clients_in(tmp_path).add("shop", scopes=["score"], key_expires=soon)
    clients_in(tmp_path).rotate("shop", overlap=timedelta(hours=5))
    old = load_clients(tmp_path / "clients.json")[0].clients["shop"].keys[0]
    assert old.expires is not None
    assert old.expires <= soon


def test_each_change_is_in_the_audit_log_without_the_secret(tmp_path: Path) -> None:
    changes = recorded(tmp_path)
    first = changes.add("shop", scopes=["score", "read"])
    assert first is not None
    second = changes.rotate("shop", overlap=timedelta(0))
    changes.disable("shop")
    changes.disable("shop", enable=True)
    changes.remove("shop")
    found = lines(tmp_path)
    assert [line["action"] for line in found] == [
        "client.add", "client.rotate", "client.disable", "client.enable", "client.remove",
    ]  # fmt: skip
    assert {line["subject"] for line in found} == {"shop"}
    assert found[0]["details"] == {"key": first.id, "scopes": ["read", "score"]}
    assert found[1]["details"] == {
        "key": second.id, "removed": [first.id], "old_valid_until": None,
    }  # fmt: skip
    assert found[4]["details"] == {"removed": [second.id]}
    text = (tmp_path / "audit.log").read_text()
    assert not any(key.text[17:] in text for key in (first, second))


def test_without_a_record_nothing_is_changed(tmp_path: Path) -> None:
    recorded(tmp_path).add("shop", scopes=["score"])
    before = (tmp_path / "clients.json").read_bytes()
    log = tmp_path / "audit.log"
    log.write_text(log.read_text().replace('"shop"', '"bank"'))
    changes: list[Callable[[], object]] = [
        lambda: recorded(tmp_path).disable("shop"),
        lambda: recorded(tmp_path).remove("shop"),
        lambda: recorded(tmp_path).rotate("shop", overlap=timedelta(0)),
        lambda: recorded(tmp_path).add("bank", scopes=["score"]),
    ]
    for change in changes:
        with pytest.raises(StreamScorerError, match="audit log"):
            change()
        assert (tmp_path / "clients.json").read_bytes() == before


def test_what_is_not_there_is_not_changed(tmp_path: Path) -> None:
    make_key(tmp_path)
    changes: list[Callable[[], object]] = [
        lambda: clients_in(tmp_path).disable("bank"),
        lambda: clients_in(tmp_path).remove("bank"),
        lambda: clients_in(tmp_path).rotate("bank", overlap=timedelta(0)),
    ]
    for change in changes:
        with pytest.raises(SettingsError, match="client bank: is not there"):
            change()


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = [f"client-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: make_key(tmp_path, name), names))
    assert set(load_clients(tmp_path / "clients.json")[0].clients) == set(names)


def test_a_report_has_no_hash(tmp_path: Path) -> None:
    key = make_key(tmp_path, certificate_subjects=("CN=shop",), quota_per_day=7)
    (found,) = listed_clients(tmp_path / "clients.json")
    assert digest_of(key).hex() not in json.dumps(found)
    assert (found["client"], found["scopes"], found["quota_per_day"]) == ("shop", ["score"], 7)
    assert found["keys"][0]["id"] == key_id_of(key)


def test_a_time_without_a_zone_is_utc() -> None:
    assert moment(None, "--expires") is None
    assert moment("2027-01-31", "--expires") == datetime(2027, 1, 31, tzinfo=UTC)
    assert moment("2027-01-31T12:00+02:00", "x") == datetime(2027, 1, 31, 10, tzinfo=UTC)
    for wrong in ("soon", "", "0001-01-01T00:00+23:59"):
        with pytest.raises(SettingsError, match="--expires"):
            moment(wrong, "--expires")


def test_a_key_that_has_expired_already_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expired already"):
        clients_in(tmp_path).add(
            "shop", scopes=["score"], key_expires=datetime(2020, 1, 1, tzinfo=UTC)
        )
    assert not (tmp_path / "clients.json").exists()
