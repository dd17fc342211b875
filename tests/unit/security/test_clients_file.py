"""The clients file: private, bounded, strict, replaced in one step, followed as it changes."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.security import clients_file
from stream_scorer.security.clients import CLIENTS_MOST, read_clients
from stream_scorer.security.clients_file import ClientsFollower, load_clients
from tests.support.serving.access import clients_in, make_key

KEY = {"id": "0" * 12, "sha256": "ab" * 32, "created": "2026-01-01T00:00:00+00:00"}


def document(**client: Any) -> bytes:
    return json.dumps({"version": 1, "clients": {"shop": {"scopes": ["score"], **client}}}).encode()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "clients.json"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        load_clients(path)
    assert "\n" not in str(refused.value)
    assert refused.value.fix
    return str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o610])
def test_a_file_that_others_may_access_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, document())
    path.chmod(mode)
    assert f"chmod 600 {path}" in refusal(path)
    path.chmod(0o400)
    assert list(load_clients(path)[0].clients) == ["shop"]


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, document())
    real = os.fstat

    def of_another(number: int) -> os.stat_result:
        found = list(real(number))
        found[4] = 4_711
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_another)
    assert "belongs to another user" in refusal(path)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in refusal(tmp_path / "fifo")
    assert "No such file" in refusal(tmp_path / "missing")
    assert "clients add" in refusal(tmp_path / "missing")
    (tmp_path / "folder").mkdir(mode=0o700)
    assert refusal(tmp_path / "folder")


def test_a_file_past_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = document()
    monkeypatch.setattr(clients_file, "FILE_BYTES_MOST", len(data))
    path = written(tmp_path, data)
    assert load_clients(path)
    assert "larger than" in refusal(written(tmp_path, data + b" "))


@pytest.mark.parametrize(
    ("client", "named"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scope": ["score"]}, "scope"),
        ({"rate_per_second": 0}, "rate_per_second"),
        ({"rate_per_second": float("1e9")}, "rate_per_second"),
        ({"rate_per_second": "5"}, "rate_per_second"),
        ({"burst": 0}, "burst"),
        ({"burst": 1.5}, "burst"),
        ({"quota_per_day": 0}, "quota_per_day"),
        ({"disabled": "false"}, "disabled"),
        ({"expires": "2027-01-01T00:00:00"}, "expires"),
        ({"expires": 1_800_000_000}, "expires"),
        ({"not_before": "2027-01-02T00:00:00Z", "expires": "2027-01-02T00:00:00Z"}, "not_before"),
        ({"keys": [KEY, KEY | {"id": "1" * 12}, KEY | {"id": "2" * 12}]}, "keys"),
        ({"keys": [KEY, KEY]}, "000000000000 is there twice"),
        ({"keys": [KEY | {"sha256": "AB" * 32}]}, "sha256"),
        ({"keys": [KEY | {"sha256": "ab" * 32 + "\n"}]}, "sha256"),
        ({"keys": [KEY | {"id": "../../../etc"}]}, "id"),
        ({"certificate_subjects": ["CN=\u212a"]}, "certificate_subjects"),
        ({"certificate_subjects": [""]}, "certificate_subjects"),
        ({"certificate_subjects": ["CN=" + 600 * "a"]}, "certificate_subjects"),
        ({"certificate_subjects": [f"CN={n}" for n in range(9)]}, "certificate_subjects"),
    ],
)
def test_each_wrong_value_is_refused_by_name(client: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_clients(document(**client), "clients file x")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b'{"version": 1}', b'{"version": 2, "clients": {}}', b"\xff",
        b'{"version": 1, "clients": {}, "clients": {}}',
        b'{"version": 1, "clients": {"a": {"scopes": ["score"]}, "A": {"scopes": ["admin"]}}}',
        b'{"version": 1, "clients": {"a": {"scopes": ["score"], "rate_per_second": NaN}}}',
        b'{"version": 1, "clients": {"open": {"scopes": ["score"]}}}',
        b'{"version": 1, "clients": {"token:x": {"scopes": ["score"]}}}',
        b'{"version": 1, "clients": {"": {"scopes": ["score"]}}}',
        b'{"version": 1, "clients": {"a\\u001b[2J": {"scopes": ["score"]}}}',
        b'{"version": 1, "clients": {"a": ' + 300 * b"[" + 300 * b"]" + b"}}",
    ],
)  # fmt: skip
def test_what_is_not_a_clients_document_is_refused(data: bytes) -> None:
    with pytest.raises(SettingsError) as refused:
        read_clients(data, "clients file x")
    assert str(refused.value).isprintable()


def test_two_clients_share_neither_key_nor_certificate() -> None:
    for shared in ({"keys": [KEY]}, {"certificate_subjects": ["CN=a"]}):
        table = {name: {"scopes": ["score"], **shared} for name in ("one", "two")}
        with pytest.raises(SettingsError, match=r"clients\.two"):
            read_clients(json.dumps({"version": 1, "clients": table}).encode(), "x")


def test_a_document_has_a_bounded_number_of_clients() -> None:
    names = [f"c{number}" for number in range(CLIENTS_MOST + 1)]
    table = {name: {"scopes": ["score"]} for name in names[:-1]}
    read_clients(json.dumps({"version": 1, "clients": table}).encode(), "x")
    table[names[-1]] = {"scopes": ["score"]}
    with pytest.raises(SettingsError, match="clients"):
        read_clients(json.dumps({"version": 1, "clients": table}).encode(), "x")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    make_key(tmp_path, "shop")
    following = ClientsFollower(tmp_path / "clients.json")
    assert not following.refresh()
    make_key(tmp_path, "bank")
    assert following.refresh()
    assert set(following.table.clients) == {"shop", "bank"}
    assert not following.refresh()


@pytest.mark.parametrize("spoil", ["chmod", "text", "gone"])
def test_a_refused_change_has_no_effect_and_is_reported(tmp_path: Path, spoil: str) -> None:
    make_key(tmp_path)
    path = tmp_path / "clients.json"
    kept = path.read_bytes()
    following = ClientsFollower(path)
    if spoil == "chmod":
        path.chmod(0o644)
    elif spoil == "text":
        path.write_bytes(b"{")
    else:
        path.unlink()
    for _ in range(2):
        with pytest.raises(SettingsError):
            following.refresh()
        assert set(following.table.clients) == {"shop"}
    written(tmp_path, kept)
    assert following.refresh()
    assert not following.refresh()


def test_a_mounted_secret_is_read_through_its_link(tmp_path: Path) -> None:
    make_key(tmp_path)
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "clients.json")
    assert set(load_clients(link)[0].clients) == {"shop"}


def test_a_written_file_is_private_and_leaves_nothing_else(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make_key(tmp_path)
    finally:
        os.umask(old)
    assert {path.name for path in tmp_path.iterdir()} == {"clients.json", "clients.json.lock"}
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reader_finds_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(tmp_path)
    path = tmp_path / "clients.json"
    before = path.read_bytes()
    seen: list[bytes] = []
    real = os.fsync

    def look(number: int) -> None:
        seen.append(path.read_bytes())
        real(number)

    monkeypatch.setattr(os, "fsync", look)
    make_key(tmp_path, "bank")
    # While the new file is written, and synced, the old one is there.
    assert seen[0] == before
    assert set(load_clients(path)[0].clients) == {"shop", "bank"}


def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path)
    path = tmp_path / "clients.json"
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="No space left"):
        clients_in(tmp_path).disable("shop")
    assert path.read_bytes() == before
    monkeypatch.undo()
    clients_in(tmp_path).disable("shop")
    assert load_clients(path)[0].clients["shop"].disabled


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    make_key(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "clients.json").symlink_to(tmp_path / "clients.json")
    with pytest.raises(SettingsError, match="symbolic link"):
        clients_in(tmp_path / "other").disable("shop")


def test_no_file_is_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        make_key(tmp_path / "missing")
