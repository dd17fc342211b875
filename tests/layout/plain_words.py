"""Search documents and messages for the words that docs/plain_words.toml replaces.

``python -m tests.layout.plain_words [--only docs|code]`` prints ``file:line: match -> advice`` for
each finding and exits with 1 if there is one. A rule whose own examples fail ends it first.
"""

import argparse
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
    """Return pattern and advice of each rule; a rule that its examples contradict is an error."""
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


def messages() -> Iterator[tuple[Path, int, str]]:
    """Yield the texts that users of the package see: errors, help, docstrings of commands."""
    for path in sorted((ROOT / "stream_scorer").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            shown: list[ast.AST] = []
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                shown = [node.exc]
            elif isinstance(node, ast.Call):
                error = ast.unparse(node.func).endswith("Error")
                shown = [k.value for k in node.keywords if error or k.arg == "help"]
                shown += node.args if error else []
            elif isinstance(node, ast.FunctionDef) and path.parent.name == "cli":
                shown = [node.body[0]] if ast.get_docstring(node) else []
            for part in (part for top in shown for part in ast.walk(top)):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield path, part.lineno, NOT_PROSE.sub("`", part.value)


def main() -> int:
    """Print the findings, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("docs", "code"))
    only = parser.parse_args().only
    listed = tomllib.loads((ROOT / "docs" / "plain_words.toml").read_text())
    if not all(entry.get("reason") for entry in listed["exceptions"]):
        sys.exit("plain_words.toml: an exception without a reason")
    texts = [*(documents() if only != "code" else ()), *(messages() if only != "docs" else ())]
    findings = set()
    for pattern, advice in compiled(listed["rules"]):
        for path, first, text in texts:
            name = path.relative_to(ROOT).as_posix()
            allowed = [entry["line"] for entry in listed["exceptions"] if entry["file"] == name]
            for found in pattern.finditer(text):
                line = first + text.count("\n", 0, found.start())
                source = path.read_text().splitlines()[line - 1]
                if not any(re.search(exception, source) for exception in allowed):
                    findings.add((name, line, f"{' '.join(found[0].split())} -> {advice}"))
    for name, line, message in sorted(findings):
        print(f"{name}:{line}: {message}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
