"""Each attack on updates ends in its own error, and the same repository without it updates."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.update import refusals
from stream_scorer.errors import UnavailableError
from tests.support.edge.attacks import ATTACKS, Scene, scene_of
from tests.support.edge.hostile_repository import HostileRepository
from tests.support.edge.update_site import cut_off, error_500, redirect


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[HostileRepository]:
    with HostileRepository(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("attack", "kind"), ATTACKS, ids=lambda each: getattr(each, "__name__", each)
)
def test_an_attack_has_its_own_error(
    repository: HostileRepository, attack: Callable[[Scene], None], kind: str
) -> None:
    scene = scene_of(repository)
    attack(scene)
    before = scene.device.current
    with pytest.raises(refusals.UpdateRefusedError) as refused:
        scene.device.update(seconds=0.3 if kind == "slow" else 10.0)
    assert refused.value.kind == kind
    assert refused.value.exit_code == 16
    assert str(refused.value).startswith(f"update: {kind}: ")
    assert "\n" not in str(refused.value)
    assert scene.device.current == before
    # The same repository, without the attack.
    repository.honest()
    scene.device.clock_back = 0.0
    updated = scene.device.update()
    assert updated not in {before, ""}
    assert repository.store.state().channels["stable"].endswith(updated[:16])


def test_every_kind_of_refusal_has_an_attack() -> None:
    kinds = {kind.kind for kind in refusals.UpdateRefusedError.__subclasses__()}
    assert kinds == {kind for _, kind in ATTACKS} | {"golden", "unfit"}
    assert len(kinds) == len(refusals.UpdateRefusedError.__subclasses__())


@pytest.mark.parametrize("answer", [error_500, redirect, cut_off])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "root"])
def test_an_outage_is_not_an_attack(repository: HostileRepository, answer: Any, role: str) -> None:
    scene = scene_of(repository)
    path = "metadata/2.root.json" if role == "root" else repository.newest(role)
    repository.site.replaced[path] = answer
    with pytest.raises(UnavailableError):
        scene.device.update()
    repository.honest()
    assert scene.device.update() == scene.second.digest


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_thief_who_raised_versions_is_ended_by_rotation(
    repository: HostileRepository, role: str
) -> None:
    scene = scene_of(repository)

    def raise_version(signed: Any) -> None:
        signed.version += 50_000

    # With the keys of all roles that name this one.
    repository.replace(role, raise_version)
    assert scene.device.update() == scene.second.digest
    repository.honest()
    third = repository.publish()
    with pytest.raises(refusals.UpdateRollbackError):
        scene.device.update()
    new = Ed25519PrivateKey.generate()
    repository.store.rotate(role, new, repository.keys)
    assert scene.device.update() == third.digest
    # What the thief signs with the old key counts no longer.
    repository.replace(role, lambda _: None)
    with pytest.raises(refusals.UpdateWrongKeyError):
        scene.device.update()
    repository.honest()
    repository.keys[role] = new
    assert scene.device.update() == third.digest


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_device_follows_the_rotation_of_each_key(
    repository: HostileRepository, role: str
) -> None:
    scene = scene_of(repository)
    new = Ed25519PrivateKey.generate()
    repository.store.rotate(role, new, repository.keys)
    repository.keys[role] = new
    assert scene.device.update() == scene.second.digest
    third = repository.publish()
    assert scene.device.update() == third.digest
    assert repository.device("newer").update() == third.digest
