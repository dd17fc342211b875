"""Grades where a reader expects a behaviour, by file names alone.

``python -m tests.layout.grade ANSWERS`` takes a file of ``number<TAB>path`` lines. The right answer
is the path in ``questions.tsv``, followed through git's renames. If a part of a file has moved to
another file, ``split.tsv`` names it. Questions 66 and up were added after the files had moved, for
folders without a question.
"""

import csv
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def renamed(since: str) -> dict[str, str]:
    """Return the current path of each file, by every path that it has had since a commit."""
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
    """Return the commit that added the questions."""
    return subprocess.run(
        ["git", "log", "--diff-filter=A", "--format=%H", "--", str(HERE / "questions.tsv")],
        capture_output=True, text=True, check=True, cwd=HERE,
    ).stdout.split()[-1]  # fmt: skip


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a table in this folder."""
    with (HERE / name).open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def main() -> None:
    """Print the wrong answers and the number of right ones."""
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
