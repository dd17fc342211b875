"""A scorer that follows the rollout swaps, ramps, refuses and rolls back while it decides."""

import json
import shutil
import threading
from collections import Counter, defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan
from stream_scorer.models.bundles import loader
from stream_scorer.rollout.log import load_versions
from stream_scorer.rollout.log.load_versions import LiveVersions
from stream_scorer.rollout.log.ready_versions import ANY_OLDER
from stream_scorer.settings import Models, Settings
from stream_scorer.telemetry import Event, RevisionRefused
from tests.support.faults.process import wait_until
from tests.support.faults.reference_run import outcome
from tests.support.rollout.live_scene import Scene, awaits, by_revision, scene
from tests.support.rollout.versions import COLD, NEW, OLD, RAMP, SHIPPED, models

pytestmark = pytest.mark.kafka

__all__ = ["models", "scene"]


@pytest.fixture
def days() -> int:
    return 6


def test_a_scorer_without_a_plan_waits_and_starts_with_the_first(scene: Scene) -> None:
    scene.feed()
    with scene.scorer() as process:
        wait_until(
            lambda: "no plan yet: stream-scorer rollout start" in process.probe()[1],
            lambda: f"a plan is awaited: {process.said}",
        )
        assert process.metric("stream_scorer_plan_awaited") == 1
        revision = scene.plan(strategy="champion", versions={"champion": OLD})
        process.wait_ready()
        found = scene.decided()
    assert {d["plan_revision"] for d in found.decisions.values()} == {revision}
    assert {(d["arm"], d["model_version"]) for d in found.decisions.values()} == {
        ("champion", "1.0.0")
    }
    assert {(a["partition"], a["revision"]) for a in scene.activations()} == {
        (p, revision) for p in range(4)
    }


def test_a_version_ramps_from_shadow_to_half_and_back_live(
    scene: Scene,
) -> None:
    scene.plan(strategy="champion", versions={"champion": OLD})
    with scene.scorer() as process:
        process.wait_ready()
        scene.feed()
        before = scene.decided()
        revisions = [
            scene.plan(strategy="canary", versions={"champion": OLD, "canary": NEW}, ramp=RAMP)
        ]
        awaits(process, revisions[0])
        scene.feed()
        shadowed = scene.decided()
        for stage in (1, 2):
            revisions.append(scene.step(stage))
            awaits(process, revisions[-1])
            scene.feed()
            scene.decided()
        back = scene.roll_back()
        awaits(process, back)
        scene.feed()
        found = scene.decided()
        # A commit is reported a moment after it.
        wait_until(
            lambda: process.metric("stream_scorer_active_revision", partition="0") == back,
            lambda: f"{back} is active: {process.said}",
        )
    by_revision(scene, found)
    arms = Counter((d["plan_revision"], d["arm"]) for d in found.decisions.values())
    assert {arm for revision, arm in arms if revision in {1, revisions[0], back}} == {"champion"}
    for revision in revisions[1:]:
        assert {arm for r, arm in arms if r == revision} >= {"canary", "control"}
    told = found.decisions.values()
    versions = {(d["arm"], d["model_version"], len(d["features"])) for d in told}
    assert {each for each in versions if each[0] == "canary"} == {("canary", "1.2.0", 2)}
    assert {each[:2] for each in versions if each[0] != "canary"} == {
        ("champion", "1.0.0"), ("control", "1.0.0")
    }  # fmt: skip
    # The shadow never decided, and scored every decision of that stage.
    scores = scene.shadows()
    of_stage = {at for at, d in found.decisions.items() if d["plan_revision"] == revisions[0]}
    assert {(s["source_partition"], s["source_offset"]) for s in scores} == of_stage
    assert len(scores) == len(of_stage) > 0
    assert {s["model_version"] for s in scores} == {"1.2.0"}
    for each in scores:
        decision = found.decisions[each["source_partition"], each["source_offset"]]
        assert each["champion_score"] == decision["score"]
        assert each["champion_decision"] == decision["decision"]
    assert len(shadowed.decisions) > len(before.decisions)
    # A customer of the canary stays there until the rollback.
    canary: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for at in sorted(found.decisions):
        d = found.decisions[at]
        if d["plan_revision"] in revisions[1:]:
            canary[d["customer_id"]].append((d["plan_revision"], d["arm"] == "canary"))
    for stages in canary.values():
        assert stages == sorted(stages)
    assert any(flag for stages in canary.values() for _, flag in stages)


def test_an_unloadable_version_never_decides_and_shows_why(scene: Scene) -> None:
    first = scene.plan(strategy="champion", versions={"champion": OLD})
    with scene.scorer() as process:
        process.wait_ready()
        scene.feed()
        scene.decided()
        cold = scene.plan(strategy="canary", versions={"champion": OLD, "canary": COLD}, ramp=RAMP)
        wait_until(lambda: any(COLD in said for said in process.degraded()), "it is refused")
        scene.feed()
        scene.decided()
        lost = scene.plan(strategy="champion", versions={"champion": "fraud:9.9.9"})
        wait_until(lambda: any("9.9.9" in said for said in process.degraded()), "it is refused")
        scene.feed()
        found = scene.decided()
        assert process.probe()[0]
        again = scene.plan(strategy="champion", versions={"champion": NEW})
        awaits(process, again)
        scene.feed()
        found = scene.decided()
        wait_until(lambda: process.degraded() == [], "nothing is refused any more")
    by_revision(scene, found)
    assert {d["plan_revision"] for d in found.decisions.values()} == {first, again}
    refused = {a["revision"]: a["reason"] for a in scene.activations() if a["status"] == "REFUSED"}
    assert refused.keys() == {cold, lost}
    assert "is warming: the rings do not keep terminal_id" in refused[cold]
    assert "--warm fraud:1.3.0" in refused[cold]
    assert "9.9.9" in refused[lost]


@pytest.mark.thorough
def test_a_takeover_decides_by_the_active_revision(scene: Scene) -> None:
    scene.plan(strategy="champion", versions={"champion": OLD})
    with scene.scorer("first") as first:
        first.wait_ready()
        scene.feed()
        scene.decided()
        # It begins with an event that has not come yet.
        latest = max(d["event_time"] for d in outcome(scene.kafka).decisions.values())
        gated = scene.plan(
            strategy="champion", versions={"champion": NEW},
            effective_at=int(latest.timestamp() * 1_000) + 86_400_000,
        )  # fmt: skip
        awaits(first, gated)
        first.kill()
    with scene.scorer("second") as second:
        second.wait_ready()
        scene.feed(0.8)
        found = scene.decided()
    by_revision(scene, found)
    counts = Counter(d["plan_revision"] for d in found.decisions.values())
    assert counts.keys() == {1, gated}
    edge = latest.timestamp() * 1_000 + 86_400_000
    for partition in range(4):
        mine = sorted((o, d) for (p, o), d in found.decisions.items() if p == partition)
        switched = next(o for o, d in mine if d["event_time"].timestamp() * 1_000 >= edge)
        assert [o >= switched for o, _ in mine] == [d["plan_revision"] == gated for _, d in mine]
    assert json.dumps(sorted(counts)) == json.dumps([1, gated])


@pytest.mark.thorough
def test_two_scorers_killed_in_a_ramp_decide_each_record_once(
    scene: Scene,
) -> None:
    """Each stage begins while a scorer is down, or the scorer is killed right after its command."""
    scene.plan(strategy="champion", versions={"champion": OLD})
    with ExitStack() as stack:
        scorers = [stack.enter_context(scene.scorer(f"{name}-0", instance=name)) for name in "ab"]
        for each in scorers:
            each.wait_ready()
        scene.feed(0.1)
        commands = [
            lambda: scene.plan(
                strategy="canary", versions={"champion": OLD, "canary": NEW}, ramp=RAMP
            ),
            lambda: scene.step(2),
            scene.roll_back,
        ]
        revisions = []
        for number, command in enumerate(commands, 1):
            one = number % 2
            scene.feed(0.1)
            if number == 2:
                scorers[one].kill()
            revisions.append(command())
            scene.feed(0.1)
            if number != 2:
                scorers[one].kill()
            scorers[one] = stack.enter_context(
                scene.scorer(f"{'ab'[one]}-{number}", instance="ab"[one])
            )
            for each in scorers:
                each.wait_ready()
                awaits(each, revisions[-1])
        scene.feed(0.1)
        found = scene.decided()
    by_revision(scene, found)
    begun = [(a["partition"], a["revision"]) for a in scene.activations()]
    assert len(begun) == len(set(begun))
    stages: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for at in sorted(found.decisions):
        d = found.decisions[at]
        assert d["plan_revision"] < revisions[-1] or d["arm"] == "champion"
        if d["plan_revision"] in revisions[:2]:
            stages[d["customer_id"]].append((at[1], d["arm"] == "canary"))
    assert all(
        [flag for _, flag in sorted(told)] == sorted(flag for _, flag in told)
        for told in stages.values()
    )


def live(scene: Scene, models: Path, told: list[Event]) -> LiveVersions:
    return LiveVersions(Settings(kafka=scene.kafka, models=Models(directory=models)), told.append)


def shown(versions: LiveVersions) -> list[int]:
    return [routing.revision for routing in versions.fleet.routings]


def test_an_older_revision_that_is_asked_for_comes(scene: Scene, models: Path) -> None:
    for version in (OLD, NEW, OLD):
        scene.plan(strategy="champion", versions={"champion": version})
    with closing(live(scene, models, [])) as versions:
        assert [r.revision for r in versions.wait([]).routings] == [3]
        versions.begin(lambda *_: None)
        versions.need(1)
        wait_until(lambda: shown(versions) == [1, 3], lambda: f"1 and 3: {shown(versions)}")
        versions.need(ANY_OLDER)
        wait_until(lambda: shown(versions) == [1, 2, 3], lambda: f"all: {shown(versions)}")


def test_a_refused_version_is_retried_when_asked_for(
    scene: Scene, tmp_path: Path, models: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(models / "fraud" / "1.0.0", store / "fraud" / "1.0.0")
    scene.plan(strategy="champion", versions={"champion": OLD})
    told: list[Event] = []
    with closing(live(scene, store, told)) as versions:
        versions.wait([])
        versions.begin(lambda *_: None)
        scene.plan(strategy="champion", versions={"champion": NEW})
        wait_until(lambda: 2 in versions.fleet.refused, "it is refused")
        shutil.copytree(models / "fraud" / "1.2.0", store / "fraud" / "1.2.0")
        versions.need(2)
        wait_until(lambda: shown(versions) == [2], lambda: f"2 is ready: {shown(versions)}")
        assert versions.fleet.refused == {}
    assert [each.revision for each in told if isinstance(each, RevisionRefused)] == [2]


def test_one_that_fails_for_made_up_transactions_never_decides(scene: Scene, models: Path) -> None:
    def touch(model: Model, _: Plan) -> None:
        if f"{model.name}:{model.version}" == NEW:
            raise ValueError("no such branch")

    scene.plan(strategy="champion", versions={"champion": OLD})
    with closing(live(scene, models, [])) as versions:
        versions.wait([])
        versions.begin(touch)
        scene.plan(strategy="champion", versions={"champion": NEW})
        wait_until(lambda: 2 in versions.fleet.refused, "it is refused")
        assert "for made-up transactions: ValueError: no such branch" in versions.fleet.refused[2]
        assert shown(versions) == [1]


def test_a_rollback_waits_for_no_download(
    scene: Scene, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store hangs when the canary is requested."""
    hangs, goes_on = threading.Event(), threading.Event()
    real = loader.load_bundle

    def slow(folder: Any, trust: Any) -> Any:
        if hangs.is_set():
            goes_on.wait(60)
        return real(folder, trust)

    monkeypatch.setattr(load_versions, "load_bundle", slow)
    scene.plan(strategy="champion", versions={"champion": OLD})
    with closing(live(scene, models, [])) as versions:
        versions.wait([])
        versions.begin(lambda *_: None)
        hangs.set()
        scene.plan(strategy="canary", versions={"champion": OLD, "canary": NEW}, ramp=RAMP)
        back = scene.roll_back()
        wait_until(lambda: shown(versions) == [back], lambda: f"rolled back: {shown(versions)}")
        assert not goes_on.is_set()
        goes_on.set()


def test_versions_that_no_revision_names_are_unloaded(scene: Scene, models: Path) -> None:
    """The last revision's versions stay, because it may still decide a batch."""
    left: list[str] = []
    scene.plan(strategy="champion", versions={"champion": SHIPPED})
    settings = Settings(kafka=scene.kafka, models=Models(directory=models))
    versions = LiveVersions(
        settings, lambda _: None, unloaded=lambda bundle: left.append(bundle.manifest.label)
    )
    with closing(versions):
        versions.wait([])
        versions.begin(lambda *_: None)
        for revision, version in ((2, OLD), (3, NEW)):
            scene.plan(strategy="champion", versions={"champion": version})
            wait_until(lambda r=revision: shown(versions) == [r], f"{revision} is shown")  # type: ignore[misc] # bound now
        wait_until(lambda: left == [SHIPPED], lambda: f"unloaded: {left}")
        assert {each.label for each in versions.fleet.models[3]} == {NEW}
        # An unloaded version is loaded again when it is needed.
        versions.need(1)
        wait_until(lambda: shown(versions) == [1, 3], lambda: f"1 and 3: {shown(versions)}")
