"""Every command still prints the keys that it printed in the previous version."""

from pathlib import Path

import pytest

from tests.recorded.session import broker, change, with_broker, without_broker
from tests.support.recorded.here import KEYS, Here, gone

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]


def test_no_key_of_a_command_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = Here(tmp_path)
    without_broker(tree)
    with broker(tree) as bootstrap:
        with_broker(tree, bootstrap)
        change(tree, bootstrap)
    assert gone(tree) == {}
    # The demo has a separate test.
    assert set(tree.keys) == set(KEYS) - {"demo"}
