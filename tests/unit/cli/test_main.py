"""Every command file is in the command tree, loads alone, and has the help that the list shows."""

import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer import cli
from stream_scorer.cli.main import COMMANDS, load

FOLDER = Path(cli.__file__).parent
# These are not commands: the entry point, the loader, and what commands share.
SHARED = {
    "__init__",
    "main",
    "options",
    "output",
    "drift_drawing",
    "edge_device",
    "edge_extra",
    "edge_operator",
    "edge_publish",
    "edge_update",
    "export_device",
    "lag_drawing",
    "rollout_drawing",
}


def test_every_file_is_a_command() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - SHARED == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_matches_their_own_help(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name]


@pytest.mark.thorough
def test_help_and_broker_commands_load_no_model() -> None:
    program = (
        "import sys\n"
        "from stream_scorer.cli.main import app\n"
        "try:\n"
        "    app(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit(int('stream_scorer.models.bundles.loader' in sys.modules))\n"
    )
    for arguments, wanted in ((("--help",), 0), (("lag", "--help"), 0), (("batch", "--help"), 1)):
        done = subprocess.run(  # noqa: S603 our own program
            [sys.executable, "-c", program, *arguments], capture_output=True, check=False
        )
        assert done.stdout
        assert done.returncode == wanted, arguments
