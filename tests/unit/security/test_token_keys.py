"""The issuer's keys: read again by age and at an unknown id, not too often, kept over an outage."""

import threading
from collections.abc import Mapping

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.security.token_keys import (
    KeyAges,
    TokenKeys,
    TokenKeysUnavailableError,
    VerificationKey,
    read_jwks,
)
from tests.support.serving.access import Issuer, Time

AGES = KeyAges(fresh=600.0, pause=30.0, stale=3_600.0)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


class Server:
    """An issuer's server: what it answers, and how often it was asked."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.names: tuple[str, ...] = ("ec",)
        self.asked = 0

    def __call__(self) -> Mapping[str, VerificationKey]:
        self.asked += 1
        if not self.names:
            raise UnavailableError("https://login.example: no answer")
        return read_jwks(self.issuer.document(*self.names), ("RS256", "ES256", "EdDSA"))


class Followed:
    """Keys whose clock and server a test sets."""

    def __init__(self, issuer: Issuer) -> None:
        self.server = Server(issuer)
        self.time = Time()
        self.reports: list[tuple[int, str]] = []
        self.keys = TokenKeys(
            self.server, AGES, lambda *report: self.reports.append(report), self.time
        )


@pytest.fixture
def followed(issuer: Issuer) -> Followed:
    return Followed(issuer)


def test_a_known_key_is_found_and_an_unknown_one_is_not(followed: Followed) -> None:
    followed.keys.refresh()
    found = followed.keys.find("ec")
    assert found is not None
    assert followed.keys.holds(found)
    # It was read just now, so reading again would bring nothing.
    assert followed.keys.find("ed") is None
    assert followed.reports == [(1, "")]


def test_an_unknown_id_has_the_keys_read_at_most_once_per_pause(followed: Followed) -> None:
    followed.keys.refresh()
    followed.time.now += AGES.pause - 0.001
    assert followed.keys.find("ed") is None
    followed.time.now += 0.001
    with pytest.raises(TokenKeysUnavailableError) as waiting:
        followed.keys.find("ed")
    assert waiting.value.seconds == 1.0
    followed.server.names = ("ec", "ed")
    followed.keys.refresh()
    assert followed.keys.find("ed") is not None
    for _ in range(100):
        assert followed.keys.find("random") is None
    assert followed.server.asked == 2


def test_keys_are_kept_over_an_outage_until_they_are_stale(followed: Followed) -> None:
    followed.keys.refresh()
    known = followed.keys.find("ec")
    assert known is not None
    followed.server.names = ()
    followed.time.now += AGES.stale - 0.001
    followed.keys.refresh()
    assert followed.reports[-1] == (1, "https://login.example: no answer")
    assert followed.keys.find("ec") is known
    assert followed.keys.holds(known)
    followed.time.now += 0.001
    assert not followed.keys.holds(known)
    with pytest.raises(TokenKeysUnavailableError) as waiting:
        followed.keys.find("ec")
    assert waiting.value.seconds == AGES.pause
    followed.server.names = ("ec",)
    followed.keys.refresh()
    assert followed.keys.find("ec") is known


def test_without_keys_a_token_may_come_again(followed: Followed) -> None:
    with pytest.raises(TokenKeysUnavailableError):
        followed.keys.find("ec")


def test_a_key_that_the_issuer_withdrew_is_no_longer_used(followed: Followed) -> None:
    followed.server.names = ("ec", "ed")
    followed.keys.refresh()
    old = followed.keys.find("ed")
    kept = followed.keys.find("ec")
    assert old is not None
    assert kept is not None
    followed.server.names = ("ec",)
    followed.keys.refresh()
    assert not followed.keys.holds(old)
    assert followed.keys.holds(kept)
    assert followed.keys.find("ed") is None


def test_another_key_under_the_same_id_replaces_the_old_one(followed: Followed) -> None:
    followed.keys.refresh()
    old = followed.keys.find("ec")
    assert old is not None
    followed.server.issuer = Issuer()
    followed.keys.refresh()
    assert not followed.keys.holds(old)
    assert followed.keys.find("ec") is not old


def test_the_next_reading_follows_age_and_failure(followed: Followed) -> None:
    assert followed.keys.seconds_left() == 0.0
    followed.keys.refresh()
    assert followed.keys.seconds_left() == AGES.fresh
    followed.time.now += 599.0
    assert followed.keys.seconds_left() == 1.0
    followed.server.names = ()
    followed.time.now += 1.0
    assert followed.keys.seconds_left() == 0.0
    followed.keys.refresh()
    assert followed.keys.seconds_left() == AGES.pause
    followed.time.now += 10_000.0
    assert followed.keys.seconds_left() == 0.0


def test_a_thread_reads_them_when_a_token_asks(issuer: Issuer) -> None:
    followed = Followed(issuer)
    followed.keys.refresh()
    read = threading.Event()

    def answer() -> Mapping[str, VerificationKey]:
        found = Server(issuer)
        found.names = ("ec", "ed")
        return found()

    followed.keys._read = answer
    followed.keys._report = lambda *_: read.set()
    with followed.keys:
        followed.keys.start()
        followed.time.now += AGES.pause
        with pytest.raises(TokenKeysUnavailableError):
            followed.keys.find("ed")
        assert read.wait(60.0)
    thread = followed.keys._thread
    assert thread is not None
    assert not thread.is_alive()
    assert followed.keys.find("ed") is not None
