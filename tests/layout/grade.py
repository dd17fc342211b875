"""Grades where a reader looks for a behaviour, from names alone, against where it was before files
moved.

``python -m tests.layout.grade ANSWERS`` takes a file of ``number<TAB>path`` lines. The right answer
is the old one in ``questions.tsv``, followed through git's renames. Where a part of a
file has left it, ``split.tsv`` says where that part is. The questions from 66 on were added after
the files moved, for folders without one.
"""

import csv
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def renamed(since: str) -> dict[str, str]:
    """Return, by each path that it had since a commit, where a file is now."""
    log = subprocess.run(
        ["git", "log", "--reverse", "-M70%", "--diff-filter=R", "--name-status", "--format=",
         f"{since}..HEAD"],
        capture_output=True, text=True, check=True, cwd=HERE,
    ).stdout  # fmt: skip
    now: dict[str, str] = {}
    for line in log.splitlines():
        _, old, new = line.split("\t")
        now |= {path: new for path, last in now.items() if last == old}
        now.setdefault(old, new)
    return now


def asked() -> str:
    """Return the commit that the questions were asked at."""
    return subprocess.run(
        ["git", "log", "--diff-filter=A", "--format=%H", "--", str(HERE / "questions.tsv")],
        capture_output=True, text=True, check=True, cwd=HERE,
    ).stdout.split()[-1]  # fmt: skip


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a table next to this file."""
    with (HERE / name).open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def main() -> None:
    """Print the answers that are wrong, and how many are right."""
    now = renamed(asked())
    split = {row["was"]: row["is"] for row in rows("split.tsv")}
    expected = {}
    for row in rows("questions.tsv"):
        answers = {row["answer"], row["also"]} - {""}
        expected[row["number"]] = {now.get(path, path) for path in answers} | {
            split[path] for path in answers if path in split
        }
    given = dict(
        line.split("\t")[:2] for line in Path(sys.argv[1]).read_text().splitlines() if line
    )
    wrong = {number: path for number, path in given.items() if path not in expected[number]}
    for number, path in wrong.items():
        print(f"{number}: {path}, not {' or '.join(sorted(expected[number]))}")
    print(f"{len(given) - len(wrong)} of {len(given)} right at the first guess")


if __name__ == "__main__":
    main()
