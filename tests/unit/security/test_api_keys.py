"""API keys: random, recognisable, and never readable from what is stored."""

import hashlib
import re
import string

import pytest

from stream_scorer.security.api_keys import (
    KEY_CHARACTERS,
    digest_of,
    generate_key,
    key_id_of,
)


def test_a_key_has_its_form_its_id_and_its_digest() -> None:
    made = generate_key()
    assert re.fullmatch(r"ssk_[0-9a-f]{12}_[0-9A-Za-z]{43}[0-9a-f]{8}", made.text)
    assert len(made.text) == KEY_CHARACTERS
    assert key_id_of(made.text) == made.id == made.text[4:16]
    assert made.digest == digest_of(made.text) == hashlib.sha256(made.text.encode()).digest()


def test_keys_differ_in_every_part() -> None:
    made = [generate_key() for _ in range(200)]
    assert len({each.id for each in made}) == len({each.text[17:60] for each in made}) == 200
    # All characters of the alphabet are drawn: 8,600 draws miss one of 62 once in 10**58 runs.
    assert {c for each in made for c in each.text[17:60]} == set(
        string.digits + string.ascii_letters
    )


def test_a_key_is_not_shown_by_accident() -> None:
    made = generate_key()
    assert made.text not in repr(made)
    assert made.text not in f"{made}"


@pytest.mark.parametrize("place", [0, 5, 20, 40, 66])
def test_a_typing_mistake_is_found_by_the_checksum(place: int) -> None:
    text = generate_key().text
    wrong = text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]
    assert key_id_of(wrong) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1], lambda key: key + "0", lambda key: key + "\n", lambda key: " " + key,
        lambda key: key.upper(), lambda key: key.replace("_", "-"), lambda _: "", lambda _: "ssk_",
        lambda key: key[:20] + "é" + key[21:], lambda key: key[:20] + "\ud800" + key[21:],
        lambda key: key[:20] + "²" + key[21:],
    ],
)  # fmt: skip
def test_what_is_not_a_key_has_no_id(change: object) -> None:
    assert callable(change)
    assert key_id_of(change(generate_key().text)) is None
