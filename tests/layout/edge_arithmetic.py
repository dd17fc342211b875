"""Renders exp and the sigmoids for devices: ``python -m tests.layout.edge_arithmetic``."""

from pathlib import Path

from stream_scorer.edge.export.c_text import c_text, python_text

NATIVE = Path(__file__).parents[2] / "stream_scorer" / "edge" / "native"


def rendered() -> dict[str, str]:
    """Return the text of each rendered file, by its name."""
    return {"arithmetic.h": c_text(), "arithmetic.py": python_text()}


def write() -> None:
    """Write the files."""
    for name, text in rendered().items():
        (NATIVE / name).write_text(text)


if __name__ == "__main__":
    write()
