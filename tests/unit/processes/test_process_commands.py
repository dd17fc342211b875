"""Commands that are processes: each one's last line is kept, whatever ends it."""

import ast
import json
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from stream_scorer.cli.main import PROCESSES
from stream_scorer.errors import SettingsError
from stream_scorer.observability.journal import ProcessJournal
from stream_scorer.processes.run_process import journaled

ROOT = Path(__file__).parents[3] / "stream_scorer"
_MAKERS = {"run_process", "process_began"}


def kinds() -> set[object]:
    """Return the kinds of process that have a journal, by the calls that begin them."""
    found: set[object] = set()
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names: dict[str, object] = {
            target.id: each.value.value
            for each in tree.body
            if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
            for target in each.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in _MAKERS:
                kind = call.args[0]
                if isinstance(kind, ast.Constant):
                    found.add(kind.value)
                elif isinstance(kind, ast.Name) and kind.id in names:
                    found.add(names[kind.id])
    return found


def test_every_process_is_known_to_the_command_line() -> None:
    # run_process passes its name on; the supervisor is the command of scorers, too.
    assert kinds() - {"supervisor"} == {kind for kind, _ in PROCESSES.values()}


def test_an_option_that_the_library_refuses_is_a_wrong_setting(tmp_path: Path) -> None:
    journal = ProcessJournal(tmp_path / "journal.jsonl", "lag", "0")
    refused = KafkaException(KafkaError(KafkaError._INVALID_ARG, "linger.ms: out of range"))
    journaled(journal)(None, refused, None)
    (line,) = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["exit_code"] == SettingsError.exit_code
    assert "linger.ms" in json.loads(line)["error"]
