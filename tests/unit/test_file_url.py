"""``state.url`` gives a file system, or an error of one line without a secret."""

import pytest

from stream_scorer.errors import SettingsError, StreamScorerError, UnavailableError
from stream_scorer.file_url import FileUrl
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.stores.file_store import FileStore

OWNER = Owner("g", "t")
STATE = "state.url", "checkpoints"
WRONG, AWAY = SettingsError, UnavailableError


@pytest.mark.parametrize(
    ("url", "kind", "why"),
    [
        ("nowhere://x", WRONG, "Protocol not known"),
        ("dbfs://x", WRONG, "instance"),
        ("reference://x", WRONG, "fo"),
        ("jupyter://x", WRONG, "url"),
        ("memory://x", WRONG, "ends with the process"),
        ("memory://", WRONG, "ends with the process"),
        ("file://", WRONG, "the path is empty"),
        ("file:///", WRONG, "the path is empty"),
        ("local://", WRONG, "the path is empty"),
        ("a::b", WRONG, "chain of file systems"),
        ("::", WRONG, "chain of file systems"),
        ("simplecache::memory://x", WRONG, "chain of file systems"),
        ("file:///tmp/\0x", WRONG, "NUL byte"),
        ("ftp://nonexistent.invalid/x", AWAY, "ftp://nonexistent.invalid/x"),
        ("hdfs://h/p", AWAY, "hdfs://h/p"),
        ("zip://x", AWAY, "zip://x"),
        ("tar://x", AWAY, "tar://x"),
        ("data:,x", AWAY, "data:,x"),
        ("file:///dev/null", AWAY, "/dev/null"),
    ],
)
def test_what_cannot_hold_a_checkpoint_is_refused_in_one_line(
    url: str, kind: type[StreamScorerError], why: str
) -> None:
    with pytest.raises(kind) as raised:
        FileStore(url, OWNER).write(0, [(OWNER.key(0, 1, 0), b"SCKP")])
    assert why in raised.value.what
    assert "state.url" in str(raised.value)
    assert str(raised.value).isprintable()
    assert raised.value.exit_code == {WRONG: 2, AWAY: 5}[kind]


@pytest.mark.parametrize("error", [ValueError, NotImplementedError, OSError])
def test_whatever_a_library_raises_is_one_line_without_secrets(error: type[Exception]) -> None:
    url = FileUrl("s3://key:top%2Fsecret@bucket/path?token=hidden", *STATE)
    said = "no\n such luck at s3://key:top%2Fsecret@bucket with top/secret and x?token=hidden"
    for text in (said, said.replace("no\n ", "")):
        with pytest.raises(UnavailableError) as raised, url.asking():
            raise error(text)
        told = str(raised.value)
        assert told.startswith("checkpoints at s3://***@bucket/path?***: ")
        assert "secret" not in told
        assert "hidden" not in told
        assert "\n" not in told
    assert "such luck at s3://***@bucket with *** and x?***" in told


def test_an_error_without_words_is_named() -> None:
    url = FileUrl("file:///x", *STATE)
    with pytest.raises(UnavailableError, match="file:///x: NotImplementedError"), url.asking():
        raise NotImplementedError


def test_a_refused_url_shows_no_secret() -> None:
    with pytest.raises(SettingsError) as raised:
        FileUrl("nowhere://me:secret@x", *STATE).open()
    assert raised.value.what.startswith("setting state.url: nowhere://***@x: ")
    assert "secret" not in str(raised.value)
