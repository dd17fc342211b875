"""A refused option is named in one line, without a stack trace."""

import sys
from pathlib import Path

import pytest

from stream_scorer.cli.main import main


@pytest.mark.parametrize(
    ("option", "told"),
    [('"foo.bar" = "x"', "foo.bar"), ('"security.protocol" = "tls"', "security.protocol")],
)
def test_a_client_option_that_does_not_exist(
    option: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "scorer.toml"
    config.write_text(f'[kafka]\nbootstrap = "127.0.0.1:1"\n[kafka.client]\n{option}\n')
    monkeypatch.setattr(sys, "argv", ["stream-scorer", "lag", "--config", str(config)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("stream-scorer: setting kafka.client: ")
    assert told in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("reproduce", "nothing is asked for"),
        ("reproduce --from yesterday", "'yesterday' is not a time"),
    ],
)
def test_a_question_that_cannot_be_answered(
    command: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *command.split()])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert told in capsys.readouterr().err


_HUGE = "1" + "0" * 30


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *(
            (command, "--rate", value)
            for command in ("simulate --topic t", "produce x.parquet")
            for value in ("inf", "nan", "0", "-1", "1e400", "1000001", "1e-9")
        ),
        *(("schemas serve", "--port", value) for value in ("-1", "65536", _HUGE)),
        *(("topics create", "--partitions", value) for value in ("0", "100001", _HUGE)),
        *(("topics create", "--replication", value) for value in ("-2", "1001", _HUGE)),
        *(("topics create", "--profiles-lookback-days", value) for value in ("0", "801", _HUGE)),
        *(("tail decisions", "--limit", value) for value in ("-1", _HUGE)),
        *(("dlq list", "--limit", value) for value in ("-1", _HUGE)),
        *(("dlq replay", "--limit", value) for value in ("0", _HUGE)),
        ("dlq replay", "--reason", "DUPLICATED"),
        ("dlq show", "partition", _HUGE),
        ("dlq show 0", "offset", str(2**63)),
        ("batch x.parquet", "--part-rows", _HUGE),
        *(("run", "--workers", value) for value in ("0", "-1", "257", _HUGE)),
    ],
)
def test_a_number_out_of_range(
    command: str,
    option: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"{option}={value}"] if option.startswith("-") else [value]
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *command.split(), *given])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert f"Invalid value for '{option}'" in capsys.readouterr().err
