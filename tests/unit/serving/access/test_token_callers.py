"""Tokens at the gate: admitted by subject, bounded, and cheap to refuse under attack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.security.tokens import TokenVerifier
from stream_scorer.serving.access import accounts
from stream_scorer.serving.web.messages import Caller
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.access import (
    AUDIENCE,
    ISSUER,
    NOW,
    GateAtWork,
    Issuer,
    access_settings,
    make_key,
)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def token_table(folder: Path, issuer: Issuer, **access: Any) -> dict[str, Any]:
    (folder / "jwks.json").write_bytes(issuer.document("ec"))
    return {
        "token_issuer": ISSUER, "token_audience": AUDIENCE,
        "token_keys": str(folder / "jwks.json"),
        "token_scopes": {"scorer.decide": ["score"]}, **access,
    }  # fmt: skip


@pytest.fixture
def gate(tmp_path: Path, issuer: Issuer) -> Iterator[GateAtWork]:
    table = token_table(
        tmp_path, issuer, failures_per_minute=2, token_rate_per_second=1.0, token_burst=3
    )
    made = GateAtWork(access_settings(tmp_path, table))
    yield made
    made.opened.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def status(gate: GateAtWork, peer: str = "10.0.0.7", **headers: str) -> int:
    with pytest.raises(Problem) as found:
        gate.admit(peer, **headers)
    return found.value.status


def test_a_token_admits_its_subject(gate: GateAtWork, issuer: Issuer) -> None:
    expected = Caller("token:shop-7", frozenset({"score"}), "token")
    assert gate.admit(**bearer(issuer.token())) == expected
    assert gate.admit(**bearer(issuer.token())) == expected
    # Another token of the same subject has its own scopes and the same limits.
    bare = gate.admit(**bearer(issuer.token("ec", scope="")))
    assert bare.scopes == set()
    assert status(gate, **bearer(issuer.token())) == 429
    assert gate.refusals == ["rate"]
    assert gate.admit(**bearer(issuer.token("ec", sub="bank"))).client == "token:bank"


def test_a_refused_token_is_counted_by_its_reason(gate: GateAtWork, issuer: Issuer) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"aud": "x"}, "token_audience"), ({"exp": NOW - 100}, "token_expired"),
    ]  # fmt: skip
    for number, (claims, reason) in enumerate(cases):
        given = bearer(issuer.token("ec", iat=int(NOW) - 200, **claims))
        assert status(gate, f"10.0.1.{number}", **given) == 401
        assert gate.refusals[-1] == reason


def test_a_token_is_judged_by_time_at_each_use(gate: GateAtWork, issuer: Issuer) -> None:
    given = bearer(issuer.token())
    gate.admit(**given)
    gate.time.now = NOW + 629.0
    gate.admit(**given)
    gate.time.now = NOW + 630.0
    assert status(gate, **given) == 401
    assert gate.refusals == ["token_expired"]


def test_after_failures_no_new_signature_is_verified(
    gate: GateAtWork, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bearer(issuer.token("ec", jti="known"))
    gate.admit(**known)
    forged = bearer(issuer.token()[:-8] + "AAAAAAAA")
    assert [status(gate, **forged) for _ in range(2)] == [401, 401]

    def verify(*_: object) -> None:
        raise AssertionError("a signature was verified")

    monkeypatch.setattr(TokenVerifier, "verify", verify)
    assert status(gate, **forged) == 429
    assert status(gate, **bearer(issuer.token("ec", jti="new"))) == 429
    assert gate.refusals[-2:] == ["token_failures"] * 2
    # A token that was verified before is admitted all the time.
    gate.admit(**known)
    monkeypatch.undo()
    gate.admit("10.0.0.8", **bearer(issuer.token("ec", jti="new")))
    gate.time.now += 30.0
    gate.admit(**bearer(issuer.token("ec", jti="newer")))


def test_a_proxys_clients_do_not_lock_each_other_out(tmp_path: Path, issuer: Issuer) -> None:
    make_key(tmp_path)
    table = token_table(
        tmp_path, issuer, failures_per_minute=1, certificate_peers=["unix"],
        clients_file=str(tmp_path / "clients.json"),
    )  # fmt: skip
    gate = GateAtWork(access_settings(tmp_path, table))
    with gate.opened:
        forged = bearer(issuer.token()[:-8] + "AAAAAAAA")
        assert [status(gate, "unix", **forged) for _ in range(2)] == [401, 429]
        gate.admit("unix", **bearer(issuer.token()))


def test_a_key_id_that_was_just_asked_for_is_refused(gate: GateAtWork, issuer: Issuer) -> None:
    assert status(gate, **bearer(issuer.token("ed"))) == 401
    assert gate.refusals == ["token_key"]


def test_without_an_issuer_no_token_is_accepted(tmp_path: Path, issuer: Issuer) -> None:
    make_key(tmp_path)
    table = {"clients_file": str(tmp_path / "clients.json")}
    gate = GateAtWork(access_settings(tmp_path, table))
    with gate.opened:
        assert status(gate, **bearer(issuer.token())) == 401
        assert gate.refusals == ["credential_malformed"]


def test_a_full_table_of_subjects_forgets_only_unused_ones(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_SUBJECTS_MOST", 2)
    table = token_table(tmp_path, issuer, token_rate_per_second=1.0, token_burst=1)
    gate = GateAtWork(access_settings(tmp_path, table))
    gate.opened._accounts._subjects_most = 2
    with gate.opened:
        for name in ("a", "b"):
            gate.admit(**bearer(issuer.token("ec", sub=name)))
        # Forgetting one of them would give it a new burst.
        assert status(gate, **bearer(issuer.token("ec", sub="c"))) == 503
        assert gate.refusals == ["token_subjects"]
        assert status(gate, **bearer(issuer.token("ec", sub="a"))) == 429
        gate.time.now += 1.0
        gate.admit(**bearer(issuer.token("ec", sub="c")))
        assert len(gate.opened._accounts._subjects) == 2


def test_a_quota_of_today_is_not_forgotten(tmp_path: Path, issuer: Issuer) -> None:
    table = token_table(tmp_path, issuer, token_quota_per_day=1)
    gate = GateAtWork(access_settings(tmp_path, table))
    gate.opened._accounts._subjects_most = 1
    with gate.opened:
        gate.admit(**bearer(issuer.token("ec", sub="a")))
        gate.time.now += 100.0
        assert status(gate, **bearer(issuer.token("ec", sub="b"))) == 503
        gate.time.now = (NOW // 86_400 + 1) * 86_400
        begin = int(gate.time.now)
        gate.admit(**bearer(issuer.token("ec", sub="b", iat=begin, exp=begin + 60)))
