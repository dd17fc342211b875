"""W3C Trace Context: what is continued, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.serving.web.trace_context import trace_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("sent", "continued"),
    [
        (VALID, VALID),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"01-{TRACE}-{PARENT}-01", VALID),
        (f"cc-{TRACE}-{PARENT}-09-what-comes-later", VALID),
    ],
)
def test_a_valid_parent_is_continued(sent: str, continued: str) -> None:
    assert trace_of(sent, None) == (continued, "")


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        VALID.upper(),
        f"{VALID}-more",
        f" {VALID}",
        f"{VALID}\n",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"0-{TRACE}-{PARENT}-01",
        f"{VALID}, {VALID}",
        f"01-{TRACE}-{PARENT}-01.more",
        f"01-{TRACE}-{PARENT}-01-{'x' * 300}",
        VALID.replace("0a", "\u0660a"),
    ],
)
def test_an_invalid_parent_starts_none(sent: str | None) -> None:
    assert trace_of(sent, "rojo=1") == ("", "")


@pytest.mark.parametrize(
    ("sent", "continued"),
    [
        ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
        ("rojo=1, congo=t61rcWkgMzE ,", "rojo=1,congo=t61rcWkgMzE"),
        ("fw529a3039@dt=FfAAAA", "fw529a3039@dt=FfAAAA"),
        ("a=b c!", "a=b c!"),
        ("", ""),
    ],
)
def test_a_valid_state_is_continued(sent: str, continued: str) -> None:
    assert trace_of(VALID, sent) == (VALID, continued)


@pytest.mark.parametrize(
    "sent",
    [
        "rojo",
        "rojo=",
        "Rojo=1",
        "rojo=1,rojo=2",
        "rojo=a=b",
        "rojo=a\tb",
        "rojo=é",
        "a@b@c=1",
        ",".join(f"k{n}=1" for n in range(33)),
        f"rojo={'a' * 257}",
        "a=" + "b" * 255 + ",c=" + "d" * 255,
    ],
)
def test_an_invalid_state_is_dropped(sent: str) -> None:
    assert trace_of(VALID, sent) == (VALID, "")


@given(st.text(max_size=80), st.text(max_size=600))
def test_nothing_else_gets_through(parent: str, state: str) -> None:
    found, kept = trace_of(parent, state)
    assert found == "" or (len(found) == 55 and found.isascii())
    assert len(kept) <= 512
