"""The word check reads every text of a module that may reach a user."""

import ast
import tomllib

from tests.layout.plain_words import ROOT, compiled, shown

MODULE = '''
"""Its docstring is not shown."""
TEXT: str = "raised later"
"""Nor is the docstring of a constant."""
KEY = "one-word"

def command(limit: int = Field(1, description="of a setting")) -> str:
    """What --help prints.

    Its second paragraph.
    """
    typer.echo("printed by", "the command")
    log.info("a_line", detail=f"{limit} rows of {limit!r} are "
             f"left out")
    return Finding(TEXT, "given back")
'''


def test_every_text_with_a_blank_is_read() -> None:
    texts = {text for _, text in shown(ast.parse(MODULE), commands=False)}
    assert texts == {
        "raised later",
        "of a setting",
        "printed by",
        "the command",
        "value rows of value are left out",
        "given back",
    }


def test_of_docstrings_only_those_of_commands_are_read() -> None:
    outside = set(shown(ast.parse(MODULE), commands=False))
    inside = set(shown(ast.parse(MODULE), commands=True))
    assert inside - outside == {(8, "What --help prints.\n\nIts second paragraph.")}


def test_sentences_that_once_got_through_are_found() -> None:
    rules = compiled(tomllib.loads((ROOT / "docs" / "plain_words.toml").read_text())["rules"])
    for sentence in (
        "The offset behind the last committed one is read first.",
        "Who kills the worker twice, ends all.",
        "It bethinks itself.",
        "So is it laid down which one starts.",
        "It is known whence it came.",
        "A full disk hinders the start.",
        "The scene's crew asks the weather.",
        "Rows keep their order: what comes comes.",
        "Ten rows at most are kept.",
        "The whole of the topic is read.",
        "Someone else commits.",
        "It is held to be sound.",
    ):
        assert any(pattern.search(sentence) for pattern, _ in rules), sentence
