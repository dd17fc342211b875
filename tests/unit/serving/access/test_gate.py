"""The gate: every caller needs a valid credential, within its limits; nothing else is let in."""

import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.security.api_keys import generate_key
from stream_scorer.serving.web.gate import RequestHead
from stream_scorer.serving.web.messages import Caller, Scope
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.access import (
    NOW,
    GateAtWork,
    access_settings,
    clients_in,
    head,
    make_key,
)


@pytest.fixture
def gates() -> Iterator[list[GateAtWork]]:
    made: list[GateAtWork] = []
    yield made
    for each in made:
        each.opened.close()


class Bench:
    """A folder of clients, and gates over it."""

    def __init__(self, folder: Path, gates: list[GateAtWork]) -> None:
        self.folder = folder
        self._gates = gates

    def gate(self, now: float = NOW, **access: Any) -> GateAtWork:
        table = {"clients_file": str(self.folder / "clients.json")} | access
        made = GateAtWork(access_settings(self.folder, table), now=now)
        self._gates.append(made)
        return made


@pytest.fixture
def bench(tmp_path: Path, gates: list[GateAtWork]) -> Bench:
    return Bench(tmp_path, gates)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


def refused(status: int, gate: GateAtWork, reason: str, **headers: str) -> Problem:
    peer = headers.pop("peer", "10.0.0.7")
    with pytest.raises(Problem) as found:
        gate.admit(peer, **headers)
    assert found.value.status == status
    assert gate.refusals[-1] == reason
    return found.value


def challenge(problem: Problem) -> str:
    return dict(problem.headers)["www-authenticate"]


def test_a_valid_key_admits_its_client(bench: Bench) -> None:
    key = make_key(bench.folder, scopes=["score", "read"])
    gate = bench.gate()
    expected = Caller("shop", frozenset({"score", "read"}), "key")
    assert gate.admit(authorization=f"Bearer {key}") == expected
    assert gate.admit(authorization=f"bearer {key}") == expected
    assert gate.refusals == []


def test_without_a_credential_nothing_is_admitted(bench: Bench) -> None:
    make_key(bench.folder)
    gate = bench.gate()
    problem = refused(401, gate, "credential_missing")
    assert challenge(problem) == 'Bearer realm="stream-scorer"'
    # Loopback is no exception, and no other header is a credential.
    for peer in ("127.0.0.1", "::1", "unix"):
        refused(401, gate, "credential_missing", peer=peer, cookie="key=x", x_api_key="ssk_")


def test_a_wrong_key_is_refused(bench: Bench) -> None:
    key = make_key(bench.folder)
    gate = bench.gate(failures_per_minute=1_000)
    unknown = refused(401, gate, "key_unknown", authorization=f"Bearer {generate_key().text}")
    other = make_key_with_id(key)
    wrong = refused(401, gate, "key_unknown", authorization=f"Bearer {other}")
    # Whether an id exists is not shown.
    assert (unknown.detail, unknown.headers) == (wrong.detail, wrong.headers)
    assert challenge(wrong) == 'Bearer realm="stream-scorer", error="invalid_token"'
    assert key not in str(wrong)


def make_key_with_id(key: str) -> str:
    """Return a key with a valid checksum and the id of another."""
    text = key[:17] + generate_key().text[17:60]
    return f"{text}{zlib.crc32(text.encode()):08x}"


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer  {key}", "Bearer {key} ",
        "Bearer {key},Bearer {key}", "Bearer {key}\x00", "Bearer {key}\n", "Bearer\t{key}",
        "Bearer ssk_", "Bearer ssk_" + "é" * 64, "Bearer \ud800", "Bearer eyJ9.eyJ9.eyJ9",
        "Digest username=x", "Bearer " + "a" * 100_000,
    ],
)  # fmt: skip
def test_a_malformed_credential_is_refused(bench: Bench, value: str) -> None:
    key = make_key(bench.folder)
    gate = bench.gate()
    refused(401, gate, "credential_malformed", authorization=value.replace("{key}", key))


def test_an_expired_key_is_refused_from_its_end_on(bench: Bench) -> None:
    key = make_key(bench.folder, key_expires=at(100))
    gate = bench.gate()
    gate.time.now = NOW + 99.999
    gate.admit(authorization=f"Bearer {key}")
    gate.time.now = NOW + 100
    refused(401, gate, "key_expired", authorization=f"Bearer {key}")


def test_two_keys_are_valid_while_a_client_changes_over(bench: Bench) -> None:
    old = make_key(bench.folder)
    new = clients_in(bench.folder).rotate("shop", overlap=timedelta(hours=1)).text
    gate = bench.gate(datetime.now(UTC).timestamp())
    assert [gate.admit(authorization=f"Bearer {each}").client for each in (old, new)] == 2 * [
        "shop"
    ]
    gate.time.now += 3_601
    refused(401, gate, "key_expired", authorization=f"Bearer {old}")
    gate.admit(authorization=f"Bearer {new}")
    clients_in(bench.folder).rotate("shop", overlap=timedelta(0))
    gate.opened.tick()
    refused(401, gate, "key_unknown", authorization=f"Bearer {new}")


def test_a_client_is_valid_from_its_begin_to_its_end(bench: Bench) -> None:
    key = make_key(bench.folder, not_before=at(10), expires=at(20))
    gate = bench.gate()
    given = {"authorization": f"Bearer {key}"}
    gate.time.now = NOW + 9.999
    refused(401, gate, "client_early", **given)
    gate.time.now = NOW + 10
    gate.admit(**given)
    gate.time.now = NOW + 19.999
    gate.admit(**given)
    gate.time.now = NOW + 20
    refused(401, gate, "client_expired", **given)


def test_a_client_that_is_disabled_or_removed_is_refused(bench: Bench) -> None:
    key = make_key(bench.folder)
    gate = bench.gate()
    given = {"authorization": f"Bearer {key}"}
    gate.admit(**given)
    clients_in(bench.folder).disable("shop")
    gate.opened.tick()
    refused(401, gate, "client_disabled", **given)
    clients_in(bench.folder).disable("shop", enable=True)
    gate.opened.tick()
    gate.admit(**given)
    clients_in(bench.folder).remove("shop")
    gate.opened.tick()
    refused(401, gate, "key_unknown", **given)


def test_requests_of_web_pages_are_refused(bench: Bench) -> None:
    key = make_key(bench.folder)
    gate = bench.gate()
    given = {"authorization": f"Bearer {key}"}
    for page in (
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": ""},
        {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": ""},
    ):  # fmt: skip
        refused(403, gate, "browser", **given, **page)
    gate.admit(**given, sec_fetch_site="none")


def test_a_scope_is_asked_for_by_name(bench: Bench) -> None:
    gate = bench.gate() if make_key(bench.folder) else None
    assert gate is not None
    gate.gate.authorise(Caller("shop", frozenset({"score"}), "key"), "score")
    gate.gate.authorise(Caller("root", frozenset({"admin"}), "key"), "operate")
    gate.gate.authorise(Caller("shop", frozenset({"score"}), "key"), "read", "score")
    few: list[frozenset[Scope]] = [frozenset(), frozenset({"score", "operate"})]
    for scopes in few:
        with pytest.raises(Problem) as found:
            gate.gate.authorise(Caller("shop", scopes, "key"), "read")
        assert found.value.status == 403
        assert 'error="insufficient_scope", scope="read"' in challenge(found.value)
    assert gate.refusals == ["scope", "scope"]


def test_past_its_rate_a_client_has_to_wait(bench: Bench) -> None:
    key = make_key(bench.folder, rate_per_second=2.0, burst=3)
    other = make_key(bench.folder, "bank")
    gate = bench.gate()
    given = {"authorization": f"Bearer {key}"}
    for _ in range(3):
        gate.admit(**given)
    problem = refused(429, gate, "rate", **given)
    assert dict(problem.headers) == {
        "retry-after": "1", "ratelimit-limit": "3", "ratelimit-remaining": "0",
        "ratelimit-reset": "2",
    }  # fmt: skip
    # What was refused is not counted, and does not concern others.
    gate.admit(authorization=f"Bearer {other}")
    gate.time.now += 0.5
    gate.admit(**given)
    refused(429, gate, "rate", **given)


def test_past_its_quota_a_client_waits_for_the_next_day(bench: Bench) -> None:
    key = make_key(bench.folder, quota_per_day=2)
    gate = bench.gate()
    given = {"authorization": f"Bearer {key}"}
    gate.time.now = (NOW // 86_400 + 1) * 86_400 - 90.5
    gate.admit(**given)
    gate.admit(**given)
    problem = refused(429, gate, "quota", **given)
    assert dict(problem.headers)["retry-after"] == "91"
    gate.time.now += 90.4
    refused(429, gate, "quota", **given)
    gate.time.now += 0.1
    gate.admit(**given)


def test_a_reloaded_file_forgives_nothing(bench: Bench) -> None:
    key = make_key(bench.folder, rate_per_second=0.001, burst=2, quota_per_day=5)
    gate = bench.gate()
    given = {"authorization": f"Bearer {key}"}
    gate.admit(**given)
    gate.admit(**given)
    make_key(bench.folder, "bank")
    gate.opened.tick()
    refused(429, gate, "rate", **given)


def test_a_batch_counts_each_of_its_requests(bench: Bench) -> None:
    key = make_key(bench.folder, rate_per_second=10.0, burst=5, quota_per_day=100)
    gate = bench.gate()
    caller = gate.admit(authorization=f"Bearer {key}")
    gate.gate.charge(caller, 24)
    problem = refused(429, gate, "rate", authorization=f"Bearer {key}")
    # 25 of 5 were taken: 20 are owed, and one more is needed.
    assert dict(problem.headers)["retry-after"] == "3"
    gate.time.now += 10
    gate.admit(authorization=f"Bearer {key}")
    with pytest.raises(Problem, match="quota"):
        gate.gate.charge(caller, 75)
    gate.gate.charge(caller, 74)
    gate.gate.charge(caller, 0)
    gate.gate.charge(Caller("open", frozenset(), "open"), 7)


def test_failures_of_an_address_are_limited(bench: Bench) -> None:
    key = make_key(bench.folder)
    gate = bench.gate(failures_per_minute=3)
    for _ in range(3):
        refused(401, gate, "credential_malformed", authorization="Bearer x")
    problem = refused(429, gate, "credential_malformed", authorization="Bearer x")
    assert dict(problem.headers)["retry-after"] == "20"
    # A valid key of the same address, as behind a proxy, is admitted all the time.
    gate.admit(authorization=f"Bearer {key}")
    refused(401, gate, "credential_malformed", authorization="Bearer x", peer="10.0.0.8")
    gate.time.now += 20.0
    refused(401, gate, "credential_malformed", authorization="Bearer x")
    refused(429, gate, "credential_malformed", authorization="Bearer x")


def test_an_ipv6_network_of_one_machine_counts_as_one(bench: Bench) -> None:
    make_key(bench.folder)
    gate = bench.gate(failures_per_minute=2)
    for number in range(2):
        refused(401, gate, "credential_missing", peer=f"2001:db8::{number}")
    refused(429, gate, "credential_missing", peer="2001:db8::ffff")
    refused(401, gate, "credential_missing", peer="2001:db8:0:1::1")


HEADERS = st.dictionaries(
    st.sampled_from([
        "authorization", "host", "origin", "sec-fetch-site", "x-client-certificate-subject",
        "x-client-certificate-verified", "x-api-key",
    ]),
    st.text(max_size=80) | st.sampled_from(["Bearer ", "SUCCESS", "none", "CN=shop", "localhost"])
    | st.text(max_size=200).map("Bearer ".__add__)
    | st.text("ab.=_-", max_size=40).map("Bearer ".__add__),
)  # fmt: skip
PEERS = st.sampled_from(["10.0.0.7", "unix", "::1", "", "x", "1" * 5_000]) | st.text(max_size=60)


def test_whatever_is_sent_is_a_problem(bench: Bench) -> None:
    make_key(bench.folder)
    gate = bench.gate(certificate_peers=["unix"])

    @settings(max_examples=500, deadline=None)
    @given(HEADERS, PEERS)
    def send(headers: dict[str, str], peer: str) -> None:
        calls: tuple[Callable[[], Caller], ...] = (
            lambda: gate.gate.admit(RequestHead("POST", "/v1/decisions", headers, peer)),
            lambda: gate.gate.admit_grpc(list(headers.items()), {}, peer),
        )
        for call in calls:
            with pytest.raises(Problem) as found:
                call()
            assert found.value.status in {401, 403, 429}

    send()


def test_no_detail_shows_what_was_sent(bench: Bench) -> None:
    make_key(bench.folder)
    gate = bench.gate(certificate_peers=["unix"], failures_per_minute=1_000)
    sent = "hunter2-\r\nInjected: yes"
    for headers in (
        {"authorization": f"Bearer {sent}"},
        {"authorization": sent},
        {"x_client_certificate_subject": sent},
        {"x_client_certificate_subject": sent, "x_client_certificate_verified": "SUCCESS"},
        {"origin": sent},
    ):
        for peer in ("unix", "10.0.0.7"):
            with pytest.raises(Problem) as found:
                gate.gate.admit(head(peer, **headers))
            shown = f"{found.value} {found.value.detail} {found.value.headers}"
            assert "hunter2" not in shown
            assert "Injected" not in shown
