"""Separate environments for other versions of libraries, below ``.venv-matrix/``.

An environment is made once with pip, and used again as long as its pins are the same.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-matrix"


def made(
    name: str,
    pins: str,
    *options: str,
    interpreter: str = sys.executable,
    below: Path = ENVIRONMENTS,
) -> Path:
    """Make an environment, unless a complete one with the same pins exists; return its Python.

    Args:
        name: Of its folder.
        pins: Requirements of pip with exact versions, one a line.
        options: Further options of ``pip install``.
        interpreter: The Python that the environment gets.
        below: The folder of such environments.

    Raises:
        subprocess.CalledProcessError: A package cannot be installed.
    """
    directory = below / name
    python, ready = directory / "bin" / "python", directory / ".ready"
    if ready.exists() and ready.read_text() == pins:
        return python
    _run([interpreter, "-m", "venv", "--clear", str(directory)])
    wanted = directory / "constraints.txt"
    wanted.write_text(pins)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
          "--only-binary", ":all:", *options, "-r", str(wanted)])  # fmt: skip
    ready.write_text(pins)
    return python


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)  # noqa: S603 our own program
