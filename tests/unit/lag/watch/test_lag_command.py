"""``stream-scorer lag``: what the command line refuses, each in one line that names the fix."""

import os
import sys
from pathlib import Path

import pytest

from stream_scorer.cli.main import main


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAM_SCORER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


_ESCAPE = "a\x1b]52;c;aGk=\x07"
_MANY = [part for number in range(201) for part in ("--group", f"g{number}")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--serve", "--watch"], "--serve and --watch exclude each other"),
        (["--serve", "--json"], "--json is for one look"),
        (["--watch", "--seconds"], "--seconds is for one look"),
        (["--serve", "--seconds"], "--seconds is for one look"),
        (["--interval", "5"], "--interval is the time between two looks"),
        (["--group", "a", "--group", "b"], "one look shows one group"),
        (["--group", "fraud-*"], "one look shows one group"),
        (["--group", ""], "lag.groups.0: String should have at least 1 character"),
        (["--group", "g" * 40_000], "lag.groups.0: String should have at most 8000 characters"),
        (["--group", _ESCAPE], "lag.groups.0: Value error, it has a control character"),
        (["--watch", "--group", "a\nb"], "lag.groups.0: Value error, it has a control character"),
        (["--watch", "--group", "*", "--group", ""], "lag.groups.1"),
        (["--watch", *_MANY], "lag: Value error, groups has more entries than groups_max"),
        *(
            (["--watch", f"--interval={value}"], "lag.interval_seconds")
            for value in ("0", "0.99", "-1", "121", "nan", "inf", "1e400")
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["stream-scorer", "lag", "--bootstrap", "127.0.0.1:1", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()


@pytest.mark.parametrize("value", ["x", "9" * 5_000])
def test_an_interval_that_is_not_a_number(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["stream-scorer", "lag", "--watch", "--bootstrap", "127.0.0.1:1", "--interval", value]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "interval" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('groups = ["a\\u0000b"]', "lag.groups.0: Value error, it has a control character"),
        ("groups = [1]", "lag.groups.0"),
        ('groups = "fraud"', "lag.groups"),
        ('groups = ["a", "b"]\ngroups_max = 1', "groups has more entries than groups_max"),
        ("groups_max = 2001", "lag.groups_max"),
        # Its alert would fire for ever.
        ("reconcile_seconds = 601", "lag.reconcile_seconds"),
        ("slo_every_seconds = 2.0", "slo_every_seconds must be at most slo_seconds"),
        ('slo_group = "fraud-*"', "slo_group is the name of one group, without * and ?"),
    ],
)
def test_settings_that_make_no_sense(
    lines: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scorer.toml").write_text(f'[kafka]\nbootstrap = "127.0.0.1:1"\n[lag]\n{lines}\n')
    monkeypatch.setattr(sys, "argv", ["stream-scorer", "lag", "--serve", "--config", "scorer.toml"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert told in capsys.readouterr().err


def test_one_look_without_a_broker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A bracket is a character of a name, and no pattern.
    command = ["stream-scorer", "lag", "--bootstrap", "127.0.0.1:1", "--group", "a[1]"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr("stream_scorer.kafka.topics.offsets.ANSWER_SECONDS", 0.5)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 5
    assert "broker 127.0.0.1:1: " in capsys.readouterr().err
