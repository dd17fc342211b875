"""What operators give for a registration, before it is one."""

from pathlib import Path

import pytest

from stream_scorer.edge.operator.registrations import read_ids
from stream_scorer.errors import SettingsError


def test_ids_are_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(" c1 \n\nc2\r\n")
    assert read_ids(path) == ["c1", "c2"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_an_id_does_not_mean_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(text)
    with pytest.raises(SettingsError, match="has no id"):
        read_ids(path)
