"""What is unsafe in the clients file is found, with its fix."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from stream_scorer.hardening.clients_check import clients_findings
from tests.support.serving.access import clients_in, make_key

NOW = datetime.now(UTC)


def test_a_usual_client_has_no_finding(tmp_path: Path) -> None:
    make_key(tmp_path)
    assert list(clients_findings(tmp_path / "clients.json")) == []
    assert list(clients_findings(None)) == []


def test_a_file_that_is_refused_is_found(tmp_path: Path) -> None:
    make_key(tmp_path)
    (tmp_path / "clients.json").chmod(0o644)
    (found,) = clients_findings(tmp_path / "clients.json")
    assert "others than its owner" in found.problem
    assert "chmod 600" in found.fix
    (missing,) = clients_findings(tmp_path / "none")
    assert "No such file" in missing.problem


def test_an_old_key_is_found(tmp_path: Path) -> None:
    make_key(tmp_path)
    path = tmp_path / "clients.json"
    assert list(clients_findings(path, NOW + timedelta(days=364))) == []
    (found,) = clients_findings(path, NOW + timedelta(days=366))
    assert "clients rotate shop" in found.fix
    clients_in(tmp_path).disable("shop")
    assert list(clients_findings(path, NOW + timedelta(days=366))) == []


def test_a_key_that_expires_is_not_old(tmp_path: Path) -> None:
    make_key(tmp_path, key_expires=NOW + timedelta(days=500))
    assert list(clients_findings(tmp_path / "clients.json", NOW + timedelta(days=366))) == []


def test_an_admin_without_an_end_is_found(tmp_path: Path) -> None:
    make_key(tmp_path, "root", scopes=["admin"])
    make_key(tmp_path, "soon", scopes=["admin"], expires=NOW + timedelta(days=9))
    (found,) = clients_findings(tmp_path / "clients.json")
    assert "client root" in found.problem
