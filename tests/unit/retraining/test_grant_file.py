"""The file of a grant: read with its limits; what is wrong with it is one line."""

from pathlib import Path

import pytest

from stream_scorer.cli.retrain import grant_of
from stream_scorer.errors import SettingsError

GRANT = f"""
key = "{"A" * 43}="
model = "fraud"
feature_sets = ["{"01" * 32}"]
share = 50.0
[guard]
[controller]
key = "{"B" * 43}="
may = ["step", "rollback"]
"""


def test_a_grant_is_read(tmp_path: Path) -> None:
    file = tmp_path / "grant.toml"
    file.write_text("expires_at = 2027-06-01T02:00:00+02:00\n" + GRANT)
    found = grant_of(file, "monthly")
    assert (found.expires_at, found.share, found.reason) == (1_811_808_000_000, 50.0, "monthly")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            b"expires_at = 2027-06-01T00:00:00\n" + GRANT.encode(),
            "expires_at: needs a date and time",
        ),
        (b"expires_at = 2027-06-01\n" + GRANT.encode(), "expires_at: needs a date and time"),
        (GRANT.encode(), "expires_at: Field required"),
        (b"\xff\xfe", "'utf-8' codec"),
        (b"a" + b".a" * 50_000 + b" = 1", "nested deeper than 64 levels"),
        (b"x = " + b"[" * 50_000, "nested deeper than 64 levels"),
        (b"# " + b"x" * 2_000_000, "is larger than 1 MiB"),
        (b"share = nan\nexpires_at = 1\n" + GRANT.replace("share", "#").encode(), "Out of range"),
    ],
)
def test_what_is_not_a_grant_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "grant.toml"
    file.write_bytes(data)
    with pytest.raises(SettingsError) as refused:
        grant_of(file, "")
    assert refused.value.what.startswith(f"grant {file}: {why}")
    assert "\n" not in refused.value.what


def test_a_grant_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match=rf"^grant {path}: [A-Z]"):
            grant_of(path, "")
