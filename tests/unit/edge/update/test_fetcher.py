"""Files of a repository come by verified TLS, from one place, within limits of bytes and time."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)

from stream_scorer.edge.update.fetcher import LimitedFetcher
from stream_scorer.serving.access.https_fetch import tls_context
from tests.support.edge.update_site import UpdateSite, cut_off, redirect


@pytest.fixture
def site(tmp_path: Path) -> Iterator[UpdateSite]:
    (tmp_path / "repository").mkdir()
    with UpdateSite(tmp_path / "repository", tmp_path) as made:
        yield made


class Fetching:
    """A fetcher that notes what it is asked to admit."""

    def __init__(self, site: UpdateSite, scratch: Path, seconds: float = 5.0) -> None:
        self.admitted: list[tuple[str, bytes]] = []
        self.site = site
        self.fetcher = LimitedFetcher(
            tls_context(site.ca), scratch, lambda *given: self.admitted.append(given), seconds
        )

    def get(self, path: str, most: int) -> bytes:
        return self.fetcher.download_bytes(f"{self.site.url}/{path}", most)


def test_a_file_is_admitted_before_it_is_used(site: UpdateSite, tmp_path: Path) -> None:
    site.replaced["metadata/2.root.json"] = b"12345"
    fetching = Fetching(site, tmp_path)
    assert fetching.get("metadata/2.root.json", 5) == b"12345"
    assert fetching.admitted == [("root", b"12345")]
    with pytest.raises(DownloadLengthMismatchError, match="more than 4"):
        fetching.get("metadata/2.root.json", 4)
    # No length that other metadata name makes the limit of a role larger.
    site.replaced["metadata/timestamp.json"] = bytes(16 * 1024 + 1)
    with pytest.raises(DownloadLengthMismatchError, match="more than 16384"):
        fetching.get("metadata/timestamp.json", 2**40)
    # A name is a role only where metadata are.
    site.replaced["targets/x/timestamp.json"] = bytes(16 * 1024 + 1)
    assert len(fetching.get("targets/x/timestamp.json", 20_000)) == 16 * 1024 + 1
    assert fetching.fetcher.asked_for == "x/timestamp.json"


@pytest.mark.parametrize("answer", ["dripping", "dripping_head"])
def test_a_slow_server_holds_nobody(site: UpdateSite, tmp_path: Path, answer: str) -> None:
    site.replaced["targets/x"] = getattr(site, answer)
    began = time.monotonic()
    with pytest.raises(SlowRetrievalError):
        Fetching(site, tmp_path, 0.3).get("targets/x", 10_000)
    assert time.monotonic() - began < 10.0


def test_all_metadata_have_a_limit_together(
    site: UpdateSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.replaced["metadata/2.root.json"] = b"1"
    site.replaced["targets/x"] = b"1"
    monkeypatch.setattr("stream_scorer.edge.update.fetcher.METADATA_SECONDS", -1.0)
    fetching = Fetching(site, tmp_path)
    with pytest.raises(SlowRetrievalError):
        fetching.get("metadata/2.root.json", 5)
    assert fetching.get("targets/x", 5) == b"1"


def _compressed(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()


@pytest.mark.parametrize("answer", [cut_off, redirect, _compressed])
def test_another_answer_is_refused(site: UpdateSite, tmp_path: Path, answer: Any) -> None:
    site.replaced["targets/x"] = answer
    with pytest.raises(DownloadError) as refused:
        Fetching(site, tmp_path).get("targets/x", 20_000)
    assert not isinstance(refused.value, DownloadLengthMismatchError | SlowRetrievalError)
    assert len(site.asked) == 1


def test_a_missing_file_has_its_code(site: UpdateSite, tmp_path: Path) -> None:
    with pytest.raises(DownloadHTTPError) as refused:
        Fetching(site, tmp_path).get("targets/x", 10)
    assert refused.value.status_code == 404


def test_another_certificate_is_refused(site: UpdateSite, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "repository").mkdir(parents=True)
    with UpdateSite(other / "repository", other) as stranger:
        fetching = Fetching(site, tmp_path)
        url = f"{stranger.url}/targets/x"
        with pytest.raises(DownloadError, match="certificate"):
            fetching.fetcher.download_bytes(url, 10)
    assert stranger.asked == []
