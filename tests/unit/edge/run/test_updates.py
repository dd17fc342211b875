"""A device that changes over to a release which it cannot decide with returns to the one before."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from stream_scorer.edge.run import updates
from stream_scorer.edge.update.release import Release
from stream_scorer.errors import EdgeError, StreamScorerError, UnavailableError
from stream_scorer.settings import Settings
from stream_scorer.telemetry import DeviceUpdated, Event

RELEASE = Release("fraud:1.0.2", {})


class Client:
    """Has one release, which is taken once."""

    def __init__(self, *answers: Release | StreamScorerError | None) -> None:
        self._answers = list(answers)
        self.done: list[str] = []

    def check(self) -> Release | None:
        answer = self._answers.pop(0)
        if isinstance(answer, StreamScorerError):
            raise answer
        return answer

    def install(self, release: Release) -> Path:
        self.done.append("install")
        return Path(release.digest)

    def back(self) -> Path:
        self.done.append("back")
        return Path("before")


def followed(
    monkeypatch: pytest.MonkeyPatch, client: Client, *failures: StreamScorerError | None
) -> list[Event]:
    """Follow a client's updates until it has no more answers; return what is reported."""
    monkeypatch.setattr(updates, "open_client", lambda _: client)
    told: list[Event] = []
    waiting = list(failures)

    async def reload() -> StreamScorerError | None:
        client.done.append("reload")
        return waiting.pop(0)

    settings = Settings(edge={"update": {"check_seconds": 1}})
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    with suppress(IndexError):
        asyncio.run(updates.follow_updates(settings, reload, told.append))
    return told


def test_a_release_is_taken_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(None, RELEASE)
    assert followed(monkeypatch, client, None) == [DeviceUpdated("", "fraud:1.0.2")]
    assert client.done == ["install", "reload"]


def test_an_outage_and_a_refusal_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(UnavailableError("no answer", "wait"), EdgeError("no room", "free it"), RELEASE)
    told = followed(monkeypatch, client, None)
    assert [each.kind for each in told] == ["unavailable", "unfit", ""]  # type: ignore[attr-defined]


def test_a_release_that_cannot_decide_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(RELEASE, None)
    told = followed(monkeypatch, client, EdgeError("its rings", "none"), None)
    assert client.done == ["install", "reload", "back", "reload"]
    (event,) = told
    assert isinstance(event, DeviceUpdated)
    assert (event.kind, "fraud:1.0.2: its rings" in event.detail) == ("unfit", True)


def test_a_device_that_no_release_serves_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(RELEASE)
    with pytest.raises(EdgeError, match="also the one before"):
        followed(
            monkeypatch, client, EdgeError("its rings", "none"),
            EdgeError("also the one before", "none"),
        )  # fmt: skip
