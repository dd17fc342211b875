"""Attacks on a repository of releases, each by one change, and the error that it must end in."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from stream_scorer.edge.update.release import Release
from tests.support.edge.hostile_repository import TIMESTAMP, Device, HostileRepository, yesterday


@dataclass
class Scene:
    """What an attacker has when the attack begins.

    Attributes:
        repository: The repository.
        device: The device, which has the first release; a second one is published.
        earlier: The metadata from when the first release was the newest, by path.
        second: The second release.
    """

    repository: HostileRepository
    device: Device
    earlier: dict[str, bytes]
    second: Release


def rollback(scene: Scene) -> None:
    scene.device.update()
    scene.repository.publish()
    scene.repository.site.replaced[TIMESTAMP] = scene.earlier[TIMESTAMP]


def rollback_after_lost_cache(scene: Scene) -> None:
    """As a power cut or an attacker of the disk leaves it: the TUF client's own files are gone."""
    rollback(scene)
    shutil.rmtree(scene.device.directory / "update/metadata")


def rollback_after_damaged_cache(scene: Scene) -> None:
    rollback(scene)
    for path in (scene.device.directory / "update/metadata").glob("*.json"):
        if not path.is_symlink():
            path.write_bytes(path.read_bytes()[:50])


def rollback_of_snapshot(scene: Scene) -> None:
    """Name an earlier snapshot in a newer timestamp: the thief has the timestamp's key."""
    scene.device.update()
    earlier: Metadata[Timestamp] = Metadata.from_bytes(scene.earlier[TIMESTAMP])

    def name_earlier(timestamp: Timestamp) -> None:
        timestamp.version += 1
        timestamp.snapshot_meta = earlier.signed.snapshot_meta

    forged = scene.repository.forged("timestamp", name_earlier)
    scene.repository.publish()
    scene.repository.site.replaced[TIMESTAMP] = forged


def rollback_of_snapshot_after_lost_cache(scene: Scene) -> None:
    rollback_of_snapshot(scene)
    shutil.rmtree(scene.device.directory / "update/metadata")


def rollback_of_root(scene: Scene) -> None:
    """Hide the newer root from a device that lost its own copy, to use a key that was stolen."""
    stolen = scene.repository.keys["timestamp"]
    scene.repository.keys["timestamp"] = Ed25519PrivateKey.generate()
    new = scene.repository.keys["timestamp"]
    scene.repository.store.rotate("timestamp", new, scene.repository.keys)
    scene.device.update()
    scene.repository.publish()
    shutil.rmtree(scene.device.directory / "update/metadata")
    forged = scene.repository.forged("timestamp", lambda _: None, stolen)
    scene.repository.site.replaced |= {TIMESTAMP: forged, "metadata/2.root.json": error_404}


def error_404(handler: Any) -> None:
    handler.send_response(404)
    handler.end_headers()


def freeze(scene: Scene) -> None:
    scene.repository.replace("timestamp", yesterday)


def freeze_of_snapshot(scene: Scene) -> None:
    scene.repository.replace("snapshot", yesterday)


def freeze_of_targets(scene: Scene) -> None:
    scene.repository.replace("targets", yesterday)


def mixed_snapshot(scene: Scene) -> None:
    """Serve an earlier snapshot where the newest one should be."""
    old = scene.earlier["snapshot"]
    scene.repository.site.replaced[scene.repository.newest("snapshot")] = old


def mixed_targets(scene: Scene) -> None:
    old = scene.earlier["targets"]
    scene.repository.site.replaced[scene.repository.newest("targets")] = old


def mixed_without_hashes(scene: Scene) -> None:
    """As :func:`mixed_snapshot`, and the thief of the timestamp's key names no hashes."""

    def name_no_hashes(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta = MetaFile(timestamp.snapshot_meta.version)

    scene.repository.replace("timestamp", name_no_hashes)
    mixed_snapshot(scene)


def mixed_and_missing(scene: Scene) -> None:
    """Leave the targets out of a newer snapshot: the thief has the snapshot's key."""

    def leave_out(snapshot: Snapshot) -> None:
        snapshot.meta = {}

    scene.repository.replace("snapshot", leave_out)


def fast_forward(scene: Scene) -> None:
    def jump(timestamp: Timestamp) -> None:
        timestamp.version += 100_001

    scene.repository.replace("timestamp", jump)


def fast_forward_of_snapshot(scene: Scene) -> None:
    def jump(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta.version += 200_000

    scene.repository.replace("timestamp", jump)


def fast_forward_of_targets(scene: Scene) -> None:
    def jump(snapshot: Snapshot) -> None:
        snapshot.meta["targets.json"].version += 200_000

    scene.repository.replace("snapshot", jump)


def endless_timestamp(scene: Scene) -> None:
    scene.repository.site.replaced[TIMESTAMP] = scene.repository.site.endless


def endless_snapshot(scene: Scene) -> None:
    """Name a length of a terabyte: the thief has the timestamp's key."""

    def name_length(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta.length = 2**40

    scene.repository.replace("timestamp", name_length)
    path = scene.repository.newest("snapshot")
    scene.repository.site.replaced[path] = scene.repository.site.endless


def endless_channel(scene: Scene) -> None:
    scene.repository.replace_target("channels/stable.json", bytes(65 * 1024))


def endless_target(scene: Scene) -> None:
    path = f"releases/{scene.second.name}/fraud/1.0.2/manifest.json"
    scene.repository.site.replaced[scene.repository.place(path)] = scene.repository.site.endless


def slow_timestamp(scene: Scene) -> None:
    scene.repository.site.replaced[TIMESTAMP] = scene.repository.site.dripping


def slow_head(scene: Scene) -> None:
    scene.repository.site.replaced[TIMESTAMP] = scene.repository.site.dripping_head


def wrong_timestamp_key(scene: Scene) -> None:
    key = Ed25519PrivateKey.generate()
    forged = scene.repository.forged("timestamp", lambda _: None, key)
    scene.repository.site.replaced[TIMESTAMP] = forged


def wrong_role_key(scene: Scene) -> None:
    """Sign the timestamp with the targets' key, which is valid for another role only."""
    key = scene.repository.keys["targets"]
    forged = scene.repository.forged("timestamp", lambda _: None, key)
    scene.repository.site.replaced[TIMESTAMP] = forged


def wrong_root_key(scene: Scene) -> None:
    forged = scene.repository.forged_root(2, Ed25519PrivateKey.generate())
    scene.repository.site.replaced["metadata/2.root.json"] = forged


def clock(scene: Scene) -> None:
    scene.device.clock_back = 2 * 3_600.0


def altered_target(scene: Scene) -> None:
    path = f"releases/{scene.second.name}/fraud/1.0.2/golden.json"
    scene.repository.site.replaced[scene.repository.place(path)] = b"[]"


def altered_release(scene: Scene) -> None:
    """Another golden file under the release's name: the thief has the keys of three roles."""
    path = f"releases/{scene.second.name}/fraud/1.0.2/golden.json"
    scene.repository.replace_target(path, b"[]")


def malformed_timestamp(scene: Scene) -> None:
    scene.repository.site.replaced[TIMESTAMP] = b"{" * 10_000


def malformed_root(scene: Scene) -> None:
    scene.repository.site.replaced["metadata/2.root.json"] = scene.repository.file(TIMESTAMP)


def malformed_channel(scene: Scene) -> None:
    scene.repository.replace_target("channels/stable.json", b"{}")


def malformed_paths(scene: Scene) -> None:
    """Name a file outside of the release: the thief has the keys of three roles."""
    release = scene.second
    data = release.to_json().replace(b"fraud/plan.toml", b"../../../plan.toml")
    scene.repository.replace_target(f"releases/{release.name}/release.json", data)


ATTACKS: list[tuple[Callable[[Scene], None], str]] = [
    (rollback, "rollback"),
    (rollback_after_lost_cache, "rollback"),
    (rollback_after_damaged_cache, "rollback"),
    (rollback_of_snapshot, "rollback"),
    (rollback_of_snapshot_after_lost_cache, "rollback"),
    (rollback_of_root, "rollback"),
    (freeze, "freeze"),
    (freeze_of_snapshot, "freeze"),
    (freeze_of_targets, "freeze"),
    (mixed_snapshot, "mix_and_match"),
    (mixed_targets, "mix_and_match"),
    (mixed_without_hashes, "mix_and_match"),
    (mixed_and_missing, "mix_and_match"),
    (fast_forward, "fast_forward"),
    (fast_forward_of_snapshot, "fast_forward"),
    (fast_forward_of_targets, "fast_forward"),
    (endless_timestamp, "endless_data"),
    (endless_snapshot, "endless_data"),
    (endless_channel, "endless_data"),
    (endless_target, "endless_data"),
    (slow_timestamp, "slow"),
    (slow_head, "slow"),
    (wrong_timestamp_key, "wrong_key"),
    (wrong_role_key, "wrong_key"),
    (wrong_root_key, "wrong_key"),
    (clock, "clock"),
    (altered_target, "altered"),
    (altered_release, "altered"),
    (malformed_timestamp, "malformed"),
    (malformed_root, "malformed"),
    (malformed_channel, "malformed"),
    (malformed_paths, "malformed"),
]


def scene_of(repository: HostileRepository) -> Scene:
    """Let a device have a first release, and publish a second one."""
    first = repository.publish()
    device = repository.device()
    assert device.update() == first.digest
    earlier = {TIMESTAMP: repository.file(TIMESTAMP)}
    earlier |= {role: repository.file(repository.newest(role)) for role in ("snapshot", "targets")}
    return Scene(repository, device, earlier, repository.publish())
