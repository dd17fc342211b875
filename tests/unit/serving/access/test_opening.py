"""The default is to deny: nothing is served without clients, except on loopback by choice."""

import threading
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.serving.access.gate import OPEN
from stream_scorer.serving.access.opening import ListenAddress, OpenedGate
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import load_settings
from stream_scorer.telemetry.access import AccessNotRecorded, ClientsRead, TokenKeysRead
from tests.support.serving.access import (
    AUDIENCE,
    ISSUER,
    GateAtWork,
    Issuer,
    access_settings,
    clients_in,
    make_key,
)

NEAR = ("127.0.0.1", "::1", "localhost", "127.8.9.10", "unix")
FAR = ("0.0.0.0", "::", "10.0.0.1", "api.example", "", "::ffff:10.0.0.1")  # noqa: S104 refused


def opened(tmp_path: Path, host: str, mode: str = "development", **access: Any) -> OpenedGate:
    settings = access_settings(tmp_path, access).model_copy(update={"mode": mode})
    return OpenedGate(settings, (ListenAddress(host),), lambda _: None)


@pytest.mark.parametrize("host", NEAR + FAR)
def test_without_clients_nothing_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="no client is configured") as refused:
        opened(tmp_path, host)
    assert "clients add" in refused.value.fix


@pytest.mark.parametrize("host", FAR)
def test_an_open_server_is_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="beyond loopback"):
        opened(tmp_path, host, open_on_loopback=True)


def test_each_address_of_an_open_server_is_judged(tmp_path: Path) -> None:
    settings = access_settings(tmp_path, {"open_on_loopback": True})
    with pytest.raises(SettingsError, match=r"beyond loopback"):
        OpenedGate(
            settings, (ListenAddress("127.0.0.1"), ListenAddress("10.0.0.1")), lambda _: None
        )


def test_an_open_server_is_not_for_production(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mode is production"):
        opened(tmp_path, "127.0.0.1", "production", open_on_loopback=True)


@pytest.mark.parametrize("host", NEAR)
def test_by_choice_programs_of_this_machine_are_admitted(tmp_path: Path, host: str) -> None:
    gate = GateAtWork(access_settings(tmp_path, {"open_on_loopback": True}), (ListenAddress(host),))
    with gate.opened:
        for name in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
            assert gate.admit("127.0.0.1", host=name) is OPEN
        assert gate.gate.admit_grpc((), {}, "ipv4:127.0.0.1:5") is OPEN
        assert not OPEN.may("admin")
        assert gate.gate.limit_headers(OPEN) == ()


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example",
        "localhost:8080@evil.example", "127.0.0.1:", "localhost:80x", "localhost:²", "10.0.0.1",
        "localhost,evil.example", " localhost", "localhost:123456", "a" * 100_000,
    ],
)  # fmt: skip
def test_a_page_under_another_name_reaches_nothing(tmp_path: Path, host: str) -> None:
    # The name of the page's site was made to resolve to 127.0.0.1.
    gate = GateAtWork(access_settings(tmp_path, {"open_on_loopback": True}))
    with gate.opened, pytest.raises(Problem, match="localhost") as found:
        gate.admit("127.0.0.1", host=host)
    assert found.value.status == 403
    assert gate.refusals == ["host"]


def test_a_page_of_another_site_reaches_nothing(tmp_path: Path) -> None:
    gate = GateAtWork(access_settings(tmp_path, {"open_on_loopback": True}))
    with gate.opened:
        for page in (
            {"origin": "https://evil.example"}, {"origin": "null"},
            {"origin": "http://localhost:8080"}, {"sec_fetch_site": "cross-site"},
        ):  # fmt: skip
            with pytest.raises(Problem, match="web pages"):
                gate.admit("127.0.0.1", host="localhost:8080", **page)
    assert gate.refusals == ["browser"] * 4


@pytest.mark.parametrize("peer", ["10.0.0.7", "", "unknown", "::ffff:10.0.0.7", "127.0.0.1x"])
def test_an_open_server_admits_no_other_machine(tmp_path: Path, peer: str) -> None:
    gate = GateAtWork(access_settings(tmp_path, {"open_on_loopback": True}))
    with gate.opened:
        with pytest.raises(Problem, match="this machine"):
            gate.admit(peer, host="localhost")
        with pytest.raises(Problem, match="this machine"):
            gate.gate.admit_grpc((), {}, "ipv4:10.0.0.7:5")


@pytest.mark.parametrize("networks", [["10.0.0.0/8"], ["unix", "127.0.0.1"], ["::1"]])
def test_proxies_by_address_need_certificates(tmp_path: Path, networks: list[str]) -> None:
    make_key(tmp_path)
    path = str(tmp_path / "clients.json")
    with pytest.raises(SettingsError, match="certificate_peers"):
        opened(tmp_path, "127.0.0.1", clients_file=path, certificate_peers=networks)


def test_a_proxy_at_a_unix_socket_needs_one(tmp_path: Path) -> None:
    make_key(tmp_path)
    path = str(tmp_path / "clients.json")
    with pytest.raises(SettingsError, match="no Unix socket"):
        opened(tmp_path, "127.0.0.1", clients_file=path, certificate_peers=["unix"])
    opened(tmp_path, "unix", clients_file=path, certificate_peers=["unix"]).close()


@pytest.mark.parametrize(
    "table",
    [
        {"open_on_loopback": True, "clients_file": "c"},
        {"certificate_peers": ["unix"]},
        {"certificate_peers": ["0.0.0.0/0"], "clients_file": "c"},
        {"certificate_peers": ["::/0"], "clients_file": "c"},
        {"certificate_peers": ["proxy.example"], "clients_file": "c"},
        {"certificate_peers": ["10.0.0.1/8"], "clients_file": "c"},
        {"certificate_header": "X-Subject"},
        {"certificate_header": "x-a", "certificate_verified_header": "x-a"},
        {"token_issuer": ISSUER},
        {"token_issuer": ISSUER, "token_audience": "a", "token_keys": "k"},
        {"token_keys": "k"},
        {"token_audience": "a"},
        {"token_algorithms": ["HS256"]},
        {"token_algorithms": ["none"]},
        {"token_algorithms": []},
        {"token_leeway_seconds": 301},
        {"token_scopes": {"x": ["root"]}},
        *(
            {"token_issuer": ISSUER, "token_audience": "a", "token_scopes": {"x": ["score"]},
             "token_keys": url}
            for url in (
                "http://login.example/jwks", "ftp://x/y", "file:///etc/passwd",
                "https://me:pw@login.example/jwks", "https:///jwks",
            )
        ),
    ],
)  # fmt: skip
def test_settings_that_would_let_others_in_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"serving\.access"):
        load_settings({"serving": {"access": table}})


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="clients file"):
        opened(tmp_path, "127.0.0.1", clients_file=str(tmp_path / "none"))
    table: dict[str, Any] = {
        "token_issuer": ISSUER, "token_audience": AUDIENCE, "token_scopes": {"x": ["score"]},
        "token_keys": str(tmp_path / "none"),
    }  # fmt: skip
    with pytest.raises(SettingsError, match="token_keys"):
        opened(tmp_path, "127.0.0.1", "development", **table)
    (tmp_path / "none").write_text('{"keys": []}')
    with pytest.raises(SettingsError, match="no key that may verify"):
        opened(tmp_path, "127.0.0.1", "development", **table)


def test_an_issuer_that_does_not_answer_lets_the_server_start(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    table = {
        "token_issuer": ISSUER, "token_audience": AUDIENCE, "token_scopes": {"x": ["score"]},
        # Nothing listens on this port of the loopback.
        "token_keys": "https://127.0.0.1:1/jwks",
        "clients_file": str(tmp_path / "clients.json"),
    }  # fmt: skip
    gate = GateAtWork(access_settings(tmp_path, table))
    with gate.opened:
        (read,) = [each for each in gate.events if isinstance(each, TokenKeysRead)]
        assert read.keys == 0
        assert "127.0.0.1" in read.failure
        assert gate.admit(authorization=f"Bearer {key}").client == "shop"
        with pytest.raises(Problem) as found:
            gate.admit(authorization=f"Bearer {Issuer().token()}")
        assert found.value.status == 503


def test_a_changed_file_is_followed_and_a_wrong_one_reported(tmp_path: Path) -> None:
    make_key(tmp_path)
    gate = GateAtWork(access_settings(tmp_path, {"clients_file": str(tmp_path / "clients.json")}))
    with gate.opened:
        make_key(tmp_path, "bank")
        gate.opened.tick()
        (tmp_path / "clients.json").chmod(0o644)
        gate.opened.tick()
    reads = [each for each in gate.events if isinstance(each, ClientsRead)]
    # The thread of the gate may have read, too.
    assert [each.clients for each in reads if not each.refusal] == [1, 2]
    assert reads[-1].clients == 2
    assert "chmod 600" in reads[-1].refusal


def test_a_thread_follows_the_file(tmp_path: Path) -> None:
    make_key(tmp_path)
    seen = threading.Event()

    def report(event: object) -> None:
        if isinstance(event, ClientsRead) and event.clients == 2:
            seen.set()

    settings = access_settings(tmp_path, {"clients_file": str(tmp_path / "clients.json")})
    with OpenedGate(settings, (ListenAddress("127.0.0.1"),), report) as gate:
        make_key(tmp_path, "bank")
        assert seen.wait(60.0)
    assert not gate._thread.is_alive()


def test_what_is_not_recorded_is_reported_and_written_later(tmp_path: Path) -> None:
    clients_in(tmp_path).add("shop", scopes=["score"])
    gate = GateAtWork(access_settings(tmp_path, {"clients_file": str(tmp_path / "clients.json")}))
    (tmp_path / "audit.log").mkdir()
    with gate.opened:
        with pytest.raises(Problem):
            gate.admit(x_client_certificate_subject="CN=shop")
        gate.opened.tick()
        failed = [each for each in gate.events if isinstance(each, AccessNotRecorded)]
        assert failed[0].waiting == 1
        (tmp_path / "audit.log").rmdir()
    assert "certificate-forged" in (tmp_path / "audit.log").read_text()
