"""An option that librdkafka refuses is one line, not a stack trace."""

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
