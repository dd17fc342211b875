"""The command line of this tree, and the keys that it must still print."""

import json
from pathlib import Path

from typer.testing import CliRunner

from stream_scorer.cli.main import app
from tests.recorded.session import Tree

ROOT = Path(__file__).parents[3]
KEYS: dict[str, list[str]] = json.loads(
    (ROOT / "tests" / "recorded" / "json_keys.json").read_text()
)["commands"]
"""Paths of the keys that the version before printed, by command."""
_OF_FORMAT_1 = (
    "the name of a library or of a file that a bundle of format 2, as `train` writes it, does not "
    "need; of a bundle of format 1 it is still printed"
)
REMOVED: dict[str, dict[str, str]] = {
    "models show": dict.fromkeys(
        (
            "manifest.files.model.skops", "manifest.libraries.numpy",
            "manifest.libraries.scikit_learn", "manifest.libraries.skops",
        ),
        _OF_FORMAT_1,
    ),
    "models validate": dict.fromkeys(
        (
            "installed.scikit_learn", "installed.skops", "made_with.numpy",
            "made_with.scikit_learn", "made_with.skops",
        ),
        _OF_FORMAT_1,
    ),
}  # fmt: skip
"""By command, the keys that were taken away on purpose, each with its reason."""


class Here(Tree):
    """Runs commands in this process, whose current folder must be the tree's; but for ``kafka``.

    Args:
        folder: Where it runs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(ROOT, folder)

    def run(self, *words: str) -> str:
        """Return a command's output; raises its exceptions."""
        if words[0] == "kafka":
            # A separate process, because the Kafka outlives the process that starts it.
            return super().run(*words)
        done = CliRunner().invoke(app, list(words), env=self.variables)
        if done.exception is not None:
            raise done.exception
        return done.stdout


def gone(tree: Tree) -> dict[str, list[str]]:
    """Return, of the commands that ran, the recorded keys that they did not print."""
    missing = {
        command: sorted(set(KEYS[command]) - set(REMOVED.get(command, ())) - set(keys))
        for command, keys in tree.keys.items()
    }
    return {command: keys for command, keys in missing.items() if keys}
