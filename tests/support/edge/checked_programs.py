"""Compiled programs under valgrind and sanitizers, on golden rows and on mutated images."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stream_scorer.edge.export.targets import NATIVE

SANITIZED = (
    "-std=c99", "-g", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror",
)  # fmt: skip
PLAIN = ("-std=c99", "-g", "-O3", "-ffp-contract=off")
VALGRIND = ("valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full")


def run(folder: Path, *command: str, text: str = "") -> tuple[int, str, str]:
    """Run a program in a folder; return its exit code, output and errors."""
    done = subprocess.run(  # noqa: S603 programs that the callers name
        command, cwd=folder, input=text, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def checker(folder: Path, made: Path, flags: Sequence[str]) -> Path:
    """Copy an exported folder, and compile its check with other flags; return the program."""
    shutil.copytree(folder, made)
    code, out, err = run(made, "make", f"CFLAGS={' '.join(flags)}", "check_golden")
    assert code == 0, out + err
    return made / "check_golden"


def mutating(folder: Path) -> Path:
    """Compile the program that scores mutated images, with sanitizers; return it."""
    program = folder / "mutate"
    sources = [str(Path(__file__).parent / "mutate.c"), str(NATIVE / "stream_scorer_edge.c")]
    code, _, err = run(folder, "gcc", *SANITIZED, f"-I{NATIVE}", *sources, "-o", str(program))
    assert code == 0, err
    return program


def mutated(program: Path, image: bytes, count: int, seed: int) -> tuple[int, int]:
    """Return how many of ``count`` mutated images were accepted and refused.

    Args:
        program: From :func:`mutating`.
        image: The image that is changed.
        count: How often.
        seed: Of the changes.
    """
    file = program.with_name("image.bin")
    file.write_bytes(image)
    code, out, err = run(program.parent, str(program), str(file), str(count), str(seed))
    assert (code, err) == (0, ""), err
    opened, refused = map(int, out.split())
    assert opened + refused == count
    return opened, refused
