import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.schemas import app
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.server import RegistryServer
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Registry


def run(*arguments: str | Path) -> tuple[Any, Exception | None]:
    """Run a command with ``--json``; return its output and its error."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    error = result.exception
    assert error is None or isinstance(error, Exception)
    return json.loads(result.stdout) if result.stdout else None, error


def candidate(directory: Path, name: str = "transaction.v2.avsc", **more: Any) -> Path:
    schema = json.loads(reader_schema("transaction.v1"))
    schema["fields"].append({"name": "zip", "type": "string"} | more)
    path = directory / name
    path.write_text(json.dumps(schema))
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SCHEMAS_DIRECTORY, tmp_path / "schemas"))


def add(directory: Path, path: Path) -> None:
    index = json.loads((directory / "registry.json").read_text())
    index["schemas"].append(
        {"id": 60, "subject": "transactions-value", "version": 2, "file": path.name}
    )
    (directory / "registry.json").write_text(json.dumps(index))


def test_our_own_schemas_pass_and_are_all_published() -> None:
    document, error = run("check")
    assert error is None
    assert document["compatible"]
    lock = json.loads((SCHEMAS_DIRECTORY / "registry.lock.json").read_text())
    listed, _ = run("list")
    assert sorted(lock) == sorted(f"{e['subject']}/{e['version']}" for e in listed)


def test_a_candidate_is_checked_by_subject_and_the_field_named(tmp_path: Path) -> None:
    document, error = run("check", candidate(tmp_path, default=""))
    assert (document["compatible"], error) == (True, None)
    document, error = run("check", candidate(tmp_path))
    assert isinstance(error, SchemaError)
    assert error.exit_code == 4
    assert "field zip: the reader has no default" in str(error)
    assert document["faults"]
    other = candidate(tmp_path, "other.avsc")
    _, error = run("check", other)
    assert isinstance(error, SettingsError)
    assert "--subject" in str(error)
    _, error = run("check", other, "--subject", "transactions-value")
    assert "field zip" in str(error)
    _, error = run("check", other, "--subject", "none")
    assert "subject none" in str(error)
    _, error = run("check", "--subject", "transactions-value")
    assert "need a FILE" in str(error)


def test_a_candidate_is_judged_by_a_registrys_history_and_rule(
    directory: Path, tmp_path: Path
) -> None:
    breaking = candidate(tmp_path)
    with RegistryServer(directory, writable=True) as server:
        flags = ("--registry", server.url, "--subject", "transactions-value")
        _, error = run("check", breaking, *flags)
        assert "field zip" in str(error)
        registry = HttpRegistry(Registry(url=server.url))
        registry._client.set_compatibility("transactions-value", "FORWARD")
        document, error = run("check", breaking, *flags)
        assert (document["compatible"], error) == (True, None)
        _, error = run("check", breaking, *flags[:2], "--subject", "none")
        assert "subject none" in str(error)
        registry.close()


def test_a_new_version_in_the_directory_is_judged_and_published(directory: Path) -> None:
    add(directory, candidate(directory))
    document, error = run("check", "--directory", directory)
    assert "transaction.v2.avsc: field zip" in document["faults"][0]
    assert isinstance(error, SchemaError)
    candidate(directory, default="")
    document, error = run("check", "--directory", directory, "--publish")
    assert (document["published"], error) == (["transactions-value/2"], None)
    candidate(directory, default="0")
    document, error = run("check", "--directory", directory)
    assert "field zip: changed after version 2" in document["faults"][0]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"name": "amount_minor"', '"name": "amount_mino"', "amount_minor"),
        ('"default": "UNKNOWN"', '"default": "POS"', "channel"),
        ('"string"', '"bytes"', "transaction_id"),
        ('"name": "Transaction"', '"name": "Other"', None),
    ],
)
def test_a_published_schema_that_is_changed_in_place_is_refused(
    directory: Path, old: str, new: str, field: str | None
) -> None:
    path = directory / "transaction.v1.avsc"
    text = path.read_text()
    path.write_text(text.replace("Amount in minor units", "The amount in minor units"))
    _, error = run("check", "--directory", directory)
    assert error is None
    path.write_text(text.replace(old, new, 1))
    _, error = run("check", "--directory", directory)
    assert isinstance(error, SchemaError)
    assert f"{f'field {field}' if field else 'the schema'}: changed after version 1" in str(error)


def test_serve_answers_until_it_is_stopped(directory: Path) -> None:
    command = [
        sys.executable, "-c", "from stream_scorer.cli import main; main()",
        "schemas", "serve", "--port", "0", "--directory", str(directory),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 ours
        assert process.stdout is not None
        registry = HttpRegistry(Registry(url=process.stdout.readline().strip()))
        assert "Transaction" in registry.writer_schema(1)
        registry.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
