"""A document that is nested too deeply is refused in one line, and quickly."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.events.plan import parse_plan
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.dead_letters.progress import LetterProgress
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.loop.attempts import Note
from stream_scorer.nesting import LEVELS_MOST, deeper_than, parse_toml
from stream_scorer.rollout.plan.plan_file import plan_of, plan_table
from stream_scorer.security import canonical_json
from stream_scorer.settings import load_settings
from stream_scorer.training.features import read_features

SHAPES: dict[str, Callable[[int], str]] = {
    "dotted key": lambda levels: "a." * (levels - 1) + "b = 1",
    "quoted key": lambda levels: "'a' . \"b.c\" ." * (levels // 2 - 1) + "a.b = 1",
    "heading": lambda levels: f"[{'a.' * (levels - 2)}b]\nc = 1",
    "heading of a list": lambda levels: f"[[{'a.' * (levels - 3)}b]]\nc = 1",
    "inline tables": lambda levels: "a = " + "{a = " * (levels - 1) + "1" + "}" * (levels - 1),
    "lists": lambda levels: "a = " + "[" * (levels - 1) + "1" + "]" * (levels - 1),
    "short keys in tables": lambda levels: (
        "a = " + "{a.a.a = " * (levels // 3) + "1" + "}" * (levels // 3)
    ),
}
READERS: dict[str, Callable[[str], Any]] = {
    "plan.toml": parse_plan,
    "policy.toml": lambda text: parse_plan("", {"policy.toml": text}),
    "events.toml": parse_events,
    "a rollout plan": plan_table,
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("levels", [LEVELS_MOST + 4, 900, 3_000])
def test_each_toml_file_has_a_limit(shape: Callable[[int], str], levels: int) -> None:
    for read in READERS.values():
        with pytest.raises(ValueError, match=r"nested deeper than 64 levels$") as refused:
            read(shape(levels))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_limit_itself_is_accepted(shape: Callable[[int], str]) -> None:
    assert not deeper_than(LEVELS_MOST, parse_toml(shape(LEVELS_MOST)))


@pytest.mark.parametrize(
    "text",
    [
        f'a = "{"x." * 500_000}"', f"# {'x.' * 500_000}\na = 1", f"a = '''{'x.' * 500_000}'''",
        f'a = """\\"{"x.[" * 300_000}""""',
    ],
)  # fmt: skip
def test_dots_in_texts_and_comments_do_not_count(text: str) -> None:
    assert "a" in parse_toml(text)


@pytest.mark.parametrize(
    "text",
    ["a." * 500_000 + "b = 1", '"' * 1_000_000, "'" * 999_999, "-" * 1_000_000, "- " * 500_000,
     '"' + "\\" * 999_999, '"""' + '"\\' * 400_000, "a" + " " * 900_000, "a = " + "[" * 999_999],
)  # fmt: skip
def test_a_megabyte_is_refused_in_a_short_time(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=r"deeper than 64|not TOML"):
        parse_toml(text)
    assert time.process_time() - began < 3


def test_a_file_of_settings_or_features_names_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text("a." * 3_000 + "b = 1")
    with pytest.raises(SettingsError, match="deeper than 64 levels"):
        load_settings(config=path)
    with pytest.raises(SettingsError, match="deeper than 64 levels"):
        read_features(path, parse_plan(""))


@pytest.mark.parametrize("levels", [198, 300, 985, 100_000])
def test_json_that_is_signed_has_a_limit(levels: int) -> None:
    text = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
    if levels < 200:
        assert canonical_json.parse(text)
        return
    with pytest.raises(ValueError, match="nested deeper than 200 levels"):
        canonical_json.parse(text)


def test_a_rollout_plan_of_python_data_has_a_limit() -> None:
    table: dict[str, Any] = {}
    for _ in range(5_000):
        table = {"a": table}
    with pytest.raises(ValueError, match="nested too deep"):
        plan_of({"shared": table})


def test_deeply_nested_offset_metadata_is_not_ours() -> None:
    note = b"[" * 4_000
    with pytest.raises(ValueError, match="is not a note"):
        LetterProgress.read(5, note)
    assert Note.read(note) is None
    assert json.loads(Note(1, 2, 0).write())["attempts"] == 1
