"""Search documents and messages for the words that docs/plain_words.toml replaces.

``python -m tests.layout.plain_words`` prints ``file:line: match -> advice`` for each finding and
exits with 1 if there is one. A rule whose own examples fail ends it first.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Fenced code, inline code, the target of a link, and a message of the program in italics.
NOT_PROSE = re.compile(
    r"^ *```.*?^ *```|^ {4}\S.*?$|`[^`]+`|\]\([^)]*\)|(?<!\*)\*(?![\s*])[^*]+\*(?!\*)",
    re.MULTILINE | re.DOTALL,
)
Rule = tuple[re.Pattern[str], str]


def compiled(entries: list[dict[str, Any]]) -> list[Rule]:
    """Return pattern and advice of each rule; exit if a rule's own examples contradict it."""
    rules = []
    for entry in entries:
        pattern = re.compile(entry["pattern"].replace(" ", r"\s+"), re.IGNORECASE)
        wrong = [text for text in entry["match"] if not pattern.search(text)]
        wrong += [text for text in entry["pass"] if pattern.search(text)]
        if wrong or min(len(entry["match"]), len(entry["pass"])) < 2:
            sys.exit(f"plain_words.toml: {entry['pattern']}: examples {wrong or 'are missing'}")
        rules.append((pattern, entry["advice"]))
    return rules


def documents() -> Iterator[tuple[Path, int, str]]:
    """Yield the prose of each document, with file and first line."""
    names = ("*.md", "docs/*.md", "docs/adr/*.md", "schemas/*.md", "models/*.md")
    for path in sorted(path for name in names for path in ROOT.glob(name)):
        yield (
            path,
            1,
            NOT_PROSE.sub(lambda code: "`" + "\n" * code[0].count("\n"), path.read_text()),
        )


def shown(tree: ast.AST, *, commands: bool) -> Iterator[tuple[int, str]]:
    """Yield each text of a module that may reach a user, with its first line.

    These are all string constants with a blank. An f-string is one text, in which the word "value"
    replaces each value. Docstrings count only if they are a command's help.
    """
    rest: set[int] = set()
    for node in ast.walk(tree):
        text, first = None, node
        if isinstance(node, ast.Expr):
            rest.add(id(node.value))
        elif isinstance(node, ast.FunctionDef) and commands:
            text, first = ast.get_docstring(node), node.body[0]
        elif isinstance(node, ast.JoinedStr):
            rest |= {id(part) for part in node.values}
            text = "".join(str(getattr(part, "value", "")) if isinstance(part, ast.Constant)
                           else "value" for part in node.values)  # fmt: skip
        elif isinstance(node, ast.Constant) and id(node) not in rest:
            text = node.value if isinstance(node.value, str) else None
        if text and " " in text:
            yield getattr(first, "lineno", 1), text


def messages() -> Iterator[tuple[Path, int, str]]:
    """Yield the texts that users of the package see: errors, help, log lines, settings."""
    for path in sorted((ROOT / "stream_scorer").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for line, text in shown(tree, commands=path.parent.name == "cli"):
            yield path, line, NOT_PROSE.sub("`", text)


def main() -> int:
    """Print the findings, and return the exit code."""
    listed = tomllib.loads((ROOT / "docs" / "plain_words.toml").read_text())
    if not all(entry.get("reason") for entry in listed["exceptions"]):
        sys.exit("plain_words.toml: an exception without a reason")
    texts = [*documents(), *messages()]
    findings = set()
    for pattern, advice in compiled(listed["rules"]):
        for path, first, text in texts:
            name = path.relative_to(ROOT).as_posix()
            allowed = [entry["line"] for entry in listed["exceptions"] if entry["file"] == name]
            for found in pattern.finditer(text):
                line = first + text.count("\n", 0, found.start())
                source = "".join(path.read_text().splitlines()[line - 1 : line])
                if not any(re.search(exception, source) for exception in allowed):
                    findings.add((name, line, f"{' '.join(found[0].split())} -> {advice}"))
    for name, line, message in sorted(findings):
        print(f"{name}:{line}: {message}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
