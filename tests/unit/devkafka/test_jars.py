"""Only pinned jars are ever run: downloads, the cache and its checks, with small files."""

import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream_scorer.devkafka import jars
from stream_scorer.errors import StreamScorerError, UnavailableError

_CONTENT = {"one": b"the first jar", "two": b"the second jar"}


@pytest.fixture(autouse=True)
def no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "jars.lock"
    lines = [f"org.test:{n}:1.0 {hashlib.sha256(c).hexdigest()}" for n, c in _CONTENT.items()]
    path.write_text("# a heading\n" + "\n".join(lines) + "\n")
    return path


def _fill(repository: Path, **content: bytes) -> None:
    for name, data in content.items():
        folder = repository / "org" / "test" / name / "1.0"
        folder.mkdir(parents=True)
        (folder / f"{name}-1.0.jar").write_bytes(data)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of a Maven repository over HTTP, which jgo is configured to use."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base names it
            pass

    folder = tmp_path / "remote"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\nlocal = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        yield folder
        server.shutdown()
        thread.join()


def test_jars_are_fetched_once_and_the_class_path_is_the_pinned(
    tmp_path: Path, lock: Path, remote: Path
) -> None:
    _fill(remote, **_CONTENT)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "stranger-1.0.jar").write_bytes(b"not pinned")
    found = jars.classpath(kept, lock)
    assert found == os.pathsep.join(str(kept / f"{name}-1.0.jar") for name in _CONTENT)
    assert (kept / "two-1.0.jar").read_bytes() == _CONTENT["two"]
    for path in remote.rglob("*.jar"):
        path.unlink()
    assert jars.classpath(kept, lock) == found


def test_a_download_other_than_the_pinned_jar_is_refused_by_name(
    tmp_path: Path, lock: Path, remote: Path
) -> None:
    _fill(remote, one=_CONTENT["one"], two=b"something else")
    with pytest.raises(StreamScorerError, match=r"two-1\.0\.jar: sha256 is .* pinned is"):
        jars.classpath(tmp_path / "kept", lock)
    assert not (tmp_path / "kept" / "two-1.0.jar").exists()


def test_a_tampered_jar_is_refused_despite_its_size_and_time(tmp_path: Path, lock: Path) -> None:
    _fill(tmp_path / "m2", **_CONTENT)
    kept = tmp_path / "kept"
    jars.classpath(kept, lock)
    jar = kept / "one-1.0.jar"
    before = jar.stat()
    jar.write_bytes(b"The first jar")
    os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert jar.stat().st_size == before.st_size
    with pytest.raises(StreamScorerError, match=r"one-1\.0\.jar: sha256") as raised:
        jars.classpath(kept, lock)
    assert "delete it" in raised.value.fix


def test_a_warm_start_hashes_only_touched_jars(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path / "m2", **_CONTENT)
    kept = tmp_path / "kept"
    jars.classpath(kept, lock)
    hashed: list[str] = []
    digest = jars._digest

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return digest(path)

    monkeypatch.setattr(jars, "_digest", counted)
    jars.classpath(kept, lock)
    assert hashed == []
    os.utime(kept / "two-1.0.jar")
    jars.classpath(kept, lock)
    assert hashed == ["two-1.0.jar"]


def test_an_old_record_does_not_satisfy_another_pin_of_the_name(tmp_path: Path, lock: Path) -> None:
    _fill(tmp_path / "m2", **_CONTENT)
    jars.classpath(tmp_path / "kept", lock)
    text = lock.read_text()
    lock.write_text(text.replace(hashlib.sha256(_CONTENT["one"]).hexdigest(), "0" * 64))
    with pytest.raises(StreamScorerError, match=r"one-1\.0\.jar"):
        jars.classpath(tmp_path / "kept", lock)


def test_a_wrong_jar_in_the_local_repository_is_skipped(
    tmp_path: Path, lock: Path, remote: Path
) -> None:
    _fill(tmp_path / "m2", one=b"half a j", two=_CONTENT["two"])
    _fill(remote, one=_CONTENT["one"])
    jars.classpath(tmp_path / "kept", lock)
    assert (tmp_path / "kept" / "one-1.0.jar").read_bytes() == _CONTENT["one"]


def test_jars_that_cannot_be_fetched_are_one_line_with_a_way_out(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "jgo.conf"
    settings.write_text("[repositories]\nnobody = http://127.0.0.1:1\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    with pytest.raises(UnavailableError, match="--bootstrap") as raised:
        jars.classpath(tmp_path / "kept", lock)
    assert "\n" not in str(raised.value)


def test_the_committed_lock_pins_kafka_its_tools_and_the_logging() -> None:
    pinned = jars.read_lock()
    names = {jar.name for jar in pinned}
    assert len(names) == len(pinned)
    version = jars.KAFKA_VERSION
    for name in ("kafka_2.13", "kafka-tools", "kafka-clients", "kafka-server"):
        assert f"{name}-{version}.jar" in names
    assert any(name.startswith("log4j-slf4j-impl-") for name in names)
    assert all(len(jar.sha256) == 64 for jar in pinned)
