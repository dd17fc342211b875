"""Requests that come close together are judged in one call; one that comes alone waits for none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.serving.decisions.judging import Judgement, Rejection, SharedJudge, texts_of

CALL_SECONDS = 0.0003


class Judging:
    """A judge whose calls take time on a clock of its own; it notes how many records each had."""

    def __init__(self) -> None:
        self.now = 0.0
        self.call_seconds = CALL_SECONDS
        self.calls: list[int] = []
        self.shared = SharedJudge(self._judge, lambda: 0, lambda: self.now)

    def _judge(self, values: Sequence[bytes], _: int) -> list[Judgement]:
        self.calls.append(len(values))
        self.now += self.call_seconds
        if b"defect" in values:
            raise ZeroDivisionError
        return [Rejection("R", value.decode()) for value in values]

    def begin(self, *values: bytes) -> "asyncio.Task[list[Judgement]]":
        return asyncio.ensure_future(self.shared(values))


def run(body: Callable[[Judging], Awaitable[None]]) -> Judging:
    async def inside() -> Judging:
        judging = Judging()
        await body(judging)
        return judging

    return asyncio.run(inside())


async def rounds(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_requests_during_the_rest_share_the_next_call() -> None:
    async def body(judging: Judging) -> None:
        await judging.shared([b"first"])
        second = judging.begin(b"second")
        await rounds(3)
        # The rest lasts for four calls; the loop has gone on meanwhile.
        assert judging.calls == [1]
        third = judging.begin(b"third", b"fourth")
        assert await second == [Rejection("R", "second")]
        assert await third == [Rejection("R", "third"), Rejection("R", "fourth")]

    assert run(body).calls == [1, 3]


def test_a_request_after_the_rest_waits_for_nothing() -> None:
    async def body(judging: Judging) -> None:
        await judging.shared([b"first"])
        judging.now += 4 * CALL_SECONDS
        second = judging.begin(b"second")
        await rounds(3)
        assert second.done()

    assert run(body).calls == [1, 1]


def test_many_records_need_no_rest() -> None:
    async def body(judging: Judging) -> None:
        await judging.shared([b"each"] * 8)
        second = judging.begin(b"second")
        await rounds(3)
        assert second.done()

    assert run(body).calls == [8, 1]


def test_a_long_call_is_followed_by_a_short_rest() -> None:
    async def body(judging: Judging) -> None:
        judging.call_seconds = 60.0
        await judging.shared([b"first"])
        await asyncio.wait_for(judging.shared([b"second"]), 30.0)

    assert run(body).calls == [1, 1]


def test_a_defect_fails_only_its_own_request() -> None:
    async def body(judging: Judging) -> None:
        good, bad = judging.begin(b"good"), judging.begin(b"defect")
        assert await good == [Rejection("R", "good")]
        with pytest.raises(ZeroDivisionError):
            await bad

    assert run(body).calls == [2, 1, 1]


@given(texts=st.lists(st.none() | st.text(max_size=5), max_size=6), first=st.integers(0, 6))
def test_texts_are_those_of_arrow(texts: list[str | None], first: int) -> None:
    column = pa.array(texts, pa.string()).slice(first)
    assert texts_of(column) == texts[first:] == column.to_pylist()
