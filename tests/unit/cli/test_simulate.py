"""``simulate`` refuses bad options in one line, before it simulates."""

import sys
from pathlib import Path

import pytest

from stream_scorer.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no destination"),
        (["--out", "x.xlsx"], "unknown ending"),
        (["--out", "x.parquet", "--rate", "5"], "--rate paces a topic only"),
        (["--out", "x.parquet", "--labels"], "--labels sends to a topic"),
        (["--topic", "t", "--label-delay", "7d"], "give --labels too"),
        (["--out", "x.parquet", "--days", "0"], "days: 0 is too few"),
        (["--out", "x.parquet", "--days", "3653"], "days: 3653 are too many"),
        *(
            (["--topic", "t", "--labels", f"--label-delay={delay}"], f"{delay!r} is not a length")
            for delay in ("7", "7w", "-1d", "1.5d", "d", "", "401d", "7d ", "٣d")
        ),
    ],
)
def test_a_bad_option_is_one_line(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stream-scorer", "simulate", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("stream-scorer: ")
    assert told in line
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
