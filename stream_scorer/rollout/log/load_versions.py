"""Loads the versions of a scorer that follows the control log, while it decides.

One thread reads the log, and immediately publishes each revision whose versions are in memory. So a
rollback does not wait for a download. Another thread loads, verifies and compiles the versions of
further revisions. What is published is one object, which is replaced. A revision that cannot be
used is refused with the reason, and the revision before it continues to decide.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import Engine
from stream_scorer.errors import ModelError, UnavailableError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.loop.work_interface import Outage
from stream_scorer.models.bundles.loader import Bundle, load_bundle, models_under
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.ports import Paused
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.log.ready_versions import ANY_OLDER, ReadyVersions, revisions_to_hold
from stream_scorer.settings import Settings
from stream_scorer.telemetry import (
    Listener,
    PlanAwaited,
    RevisionLoaded,
    RevisionRefused,
    VersionsExpected,
)

_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_LOG, _STORE = "control log", "models"


class LiveVersions:
    """The versions that the control log's revisions name, ready to decide.

    Args:
        settings: The cluster, the store, and whose signatures count.
        listener: Notified of what is loaded, refused and awaited.
        warm: NAME:VERSION whose fields and windows the rings keep in addition; None: no other.
        loaded: Called with each bundle that was loaded.
        unloaded: Called with each bundle that was unloaded, as no revision names it now.
        check: Called with the plan of each revision; a ``ValueError`` of it refuses the revision.

    Raises:
        StreamScorerError: The log cannot be read; see ``ControlLog``.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        warm: str | None = None,
        loaded: Callable[[Bundle], None] = lambda _: None,
        unloaded: Callable[[Bundle], None] = lambda _: None,
        check: Callable[[Plan], None] = lambda _: None,
    ) -> None:
        self._listener = listener
        self._loaded = loaded
        self._unloaded = unloaded
        self._check = check
        self._prepare: Callable[[Model, Plan], None] = lambda *_: None
        self._log = ControlLog(settings, listener)
        self._store, self._trust = open_store(settings.models), trust_of(settings.models)
        self._warm = warm
        self._beside: Version | None = None
        self._bundles: dict[Version, Bundle] = {}
        self._refused: dict[int, str] = {}
        self._wanted: set[int] = set()
        self._rings: Engine | None = None
        # Versions that these rings serve, each with the revision whose plan it was compiled by.
        self._served: set[tuple[Version, int]] = set()
        self._warming: Model | None = None
        self._fleet: ReadyVersions | None = None
        self._before: tuple[Routing, ...] = ()
        self._failure: Exception | None = None
        # Guards what is in memory and what is refused; never held during a load.
        self._lock = threading.RLock()
        self._due = threading.Event()
        self._closed = threading.Event()
        self._following: threading.Thread | None = None

    @property
    def fleet(self) -> ReadyVersions:
        """What is ready now.

        Raises:
            Exception: The error that ended a thread, such as a newer version's command in the log.
        """
        if self._failure is not None:
            raise self._failure
        if self._fleet is None:
            raise RuntimeError("no plan was waited for")
        return self._fleet

    @property
    def warming(self) -> Model | None:
        """The version that is warming; None without one."""
        return self._warming

    def wait(self, active: Iterable[int]) -> ReadyVersions:
        """Wait for a plan, load its versions, and return what is ready.

        Args:
            active: Revisions that decided the partitions last.

        Raises:
            ModelError: No revision of the log can be used.
            StreamScorerError: The log cannot be followed.
        """
        self._wanted.update(active)
        read_patiently(self._log.refresh, self._listener)
        while not self._log.log.routings:
            self._listener(PlanAwaited())
            read_patiently(lambda: self._log.poll(_POLL_SECONDS), self._listener)
        self._listener(PlanAwaited(over=True))
        self._expect()
        if self._warm is not None:
            bundle = self._bundle(self._warm)
            self._beside = Version(bundle.manifest.name, bundle.manifest.version)
            self._keep({self._beside: bundle})
        self._load()
        if self._fleet is None:
            revision, reason = max(self._refused.items())
            raise ModelError(
                f"revision {revision}: {reason}", "start a rollout of what can be loaded"
            )
        return self._fleet

    def plans(self) -> dict[int, Plan]:
        """Return the plan of each revision of the log."""
        return {number: each.shared for number, each in list(self._log.log.routings.items())}

    def need(self, revision: int) -> None:
        """Request an older revision that decided a partition last, or ``ANY_OLDER``.

        A revision that was refused is tried again.
        """
        with self._lock:
            self._wanted.add(revision)
            self._refused.pop(revision, None)
        self._due.set()

    def begin(self, prepare: Callable[[Model, Plan], None]) -> None:
        """Start the threads that follow the log and load versions.

        Args:
            prepare: Runs a model once before it decides.
        """
        self._prepare = prepare
        self._following = threading.Thread(target=self._follow, name="control-log", daemon=True)
        self._following.start()
        threading.Thread(target=self._load_when_due, name="model-loader", daemon=True).start()

    def close(self) -> None:
        """Stop the threads, and close the log. Does not wait for a store that hangs."""
        self._closed.set()
        self._due.set()
        if self._following is not None:
            self._following.join()
        self._log.close()

    # -- the thread that reads the log --------------------------------------------------------

    def _follow(self) -> None:
        outage = Outage(self._listener)
        while not self._closed.is_set():
            before = self._log.log.state.revision
            try:
                self._log.poll(_POLL_SECONDS)
                outage.end()
                if self._log.log.state.revision != before:
                    self._expect()
                    self._show()
                    self._due.set()
            except UnavailableError as error:
                outage.begin(Paused(_LOG, str(error)))
                self._closed.wait(_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 any error must reach the deciding thread
                self._failure = error
                return

    def _expect(self) -> None:
        """Report the versions that the newest revision names, whether they can be loaded or not."""
        (*_, newest) = self._log.log.routings.values()
        self._listener(VersionsExpected(tuple(each.label for each in newest.versions.values())))

    # -- the thread that loads ----------------------------------------------------------------

    def _load_when_due(self) -> None:
        outage = Outage(self._listener)
        while True:
            self._due.wait()
            if self._closed.is_set():
                return
            # Requests from here on are handled in another round.
            self._due.clear()
            try:
                self._load()
                outage.end()
            except UnavailableError as error:
                outage.begin(Paused(_STORE, str(error)))
                self._closed.wait(_RETRY_SECONDS)
                self._due.set()
            except Exception as error:  # noqa: BLE001 as above
                self._failure = error
                return

    def _load(self) -> None:
        """Load the versions of the newest revisions, and publish them.

        Raises:
            UnavailableError: The store does not answer for one of them; the others are published.
        """
        lost: UnavailableError | None = None
        for routing in self._asked():
            try:
                self._take(routing)
            except UnavailableError as error:
                lost = error
                continue
            # The first publication determines the layout of the rings, so it waits for all of them.
            if self._fleet is not None and self._usable(routing):
                self._show()
        self._show()
        if lost is not None:
            raise lost

    def _asked(self) -> Iterable[Routing]:
        """Return the revisions that may have to decide, newest first."""

        def wanted(revision: int) -> bool:
            with self._lock:
                return revision in self._wanted or ANY_OLDER in self._wanted

        return revisions_to_hold(list(self._log.log.routings.values()), wanted, self._usable)

    def _usable(self, routing: Routing) -> bool:
        with self._lock:
            known = all(
                version in self._bundles and not self._newly_granted(self._bundles[version])
                for version in routing.versions.values()
            )
            return known and routing.revision not in self._refused

    def _take(self, routing: Routing) -> None:
        """Load the versions of a revision, or refuse it."""
        with self._lock:
            if routing.revision in self._refused:
                return
            loaded = dict(self._bundles)
        new: dict[Version, Bundle] = {}
        try:
            for version in dict.fromkeys(routing.versions.values()):
                if version not in loaded or self._newly_granted(loaded[version]):
                    new[version] = self._bundle(version.label)
                    self._touch(self._model(version, {**loaded, **new}, routing), routing.shared)
            for version in routing.versions.values():
                refuse_other_parent(({**loaded, **new})[version], {**loaded, **new})
        except ModelError as error:
            with self._lock:
                self._refused[routing.revision] = str(error)
            self._listener(RevisionRefused(routing.revision, str(error)))
            return
        self._keep(new)

    def _bundle(self, reference: str) -> Bundle:
        trust = self._trust.with_granted(self._log.log.state.trained)
        return load_bundle(find(self._store, reference), trust)

    def _newly_granted(self, bundle: Bundle) -> bool:
        """Whether a trainer's plan has named a bundle since it was loaded for another reason."""
        label = bundle.manifest.label
        return self._log.log.state.trained.get(label) != bundle.trust.granted.get(label)

    def _keep(self, new: dict[Version, Bundle]) -> None:
        with self._lock:
            self._bundles = {**self._bundles, **new}
        for bundle in new.values():
            self._loaded(bundle)

    def _touch(self, model: Model, shared: Plan) -> None:
        """Let a version decide made-up transactions before it decides real ones."""
        try:
            self._prepare(model, shared)
        except Exception as error:
            raise ModelError(
                f"{model.name}:{model.version}: fails for made-up transactions: "
                f"{type(error).__name__}: {error}",
                "fix the model, and give it a new version",
            ) from error

    # -- both ---------------------------------------------------------------------------------

    def _model(
        self, version: Version, bundles: Mapping[Version, Bundle], routing: Routing
    ) -> Model:
        """Return a version's model, compiled for a revision's plan.

        Raises:
            ModelError: Its features do not fit the plan, or need what the rings' layout does not
                have; or this process cannot do what the plan asks for.
        """
        try:
            self._check(routing.shared)
        except ValueError as error:
            raise ModelError(str(error), "give the process the key, then restart it") from error
        (model,) = models_under([(bundles[version], routing.shared)], self._rings)
        if lacking := _lacking(self._rings, model):
            raise cold(version, lacking, served=version in self._bundles)
        if self._rings is not None:
            with self._lock:
                self._served.add((version, routing.revision))
        return model

    def _fits(self, routing: Routing) -> bool:
        """Whether the versions of a revision, which are in memory, can decide; refuse it if not."""
        try:
            for version in dict.fromkeys(routing.versions.values()):
                # A plan, a version and the rings do not change: to compile it once is enough.
                if (version, routing.revision) not in self._served:
                    self._model(version, self._bundles, routing)
        except ModelError as error:
            self._refused[routing.revision] = str(error)
            return False
        return True

    def _unload(self, usable: Sequence[Routing]) -> list[Bundle]:
        """Remove the bundles that no revision names from memory, and return them.

        Bundles of the revisions that were published before stay, because a batch may still use
        them.
        """
        revisions = {each.revision for each in usable}
        self._served = {each for each in self._served if each[1] in revisions}
        shown = () if self._fleet is None else self._fleet.routings
        kept = (*usable, *shown, *self._before)
        named = {version for each in kept for version in each.versions.values()}
        named |= set() if self._beside is None else {self._beside}
        left = [bundle for version, bundle in self._bundles.items() if version not in named]
        self._bundles = {v: bundle for v, bundle in self._bundles.items() if v in named}
        return left

    def _models(self, usable: Sequence[Routing]) -> dict[int, dict[Version, Model]]:
        """Return the models of ascending revisions; the first call determines the rings' layout."""
        asked = [(each, v) for each in usable for v in dict.fromkeys(each.versions.values())]
        bundles = [(self._bundles[version], each.shared) for each, version in asked]
        if self._rings is None and self._beside is not None:
            bundles.append((self._bundles[self._beside], usable[-1].shared))
        made = models_under(bundles, self._rings)
        if self._rings is None:
            self._rings = made[0].features.engine
            self._warming = made[-1] if len(made) > len(asked) else None
        found: dict[int, dict[Version, Model]] = {each.revision: {} for each in usable}
        for (each, version), model in zip(asked, made, strict=False):
            found[each.revision][version] = model
        return found

    def _show(self) -> None:
        """Publish the revisions whose versions are in memory, and refuse those that cannot decide.

        A revision may have another mapping. So history can be missing even for a version that
        already decides.
        """
        with self._lock:
            known = set(self._refused)
            usable = [each for each in self._asked() if self._usable(each) and self._fits(each)]
            refused = {number: why for number, why in self._refused.items() if number not in known}
            usable.reverse()
            before, left = self._fleet, self._unload(usable) if usable else []
            if usable:
                oldest = usable[0].revision
                self._fleet = ReadyVersions(
                    self._models(usable),
                    tuple(usable),
                    {revision: why for revision, why in self._refused.items() if revision > oldest},
                )
            fleet = self._fleet
            newer = fleet is not None and (
                before is None or before.newest.revision != fleet.newest.revision
            )
            if newer and before is not None:
                self._before = before.routings
        for number, why in refused.items():
            self._listener(RevisionRefused(number, why))
        for bundle in left:
            self._unloaded(bundle)
        if newer and fleet is not None:
            versions = {arm: v.label for arm, v in fleet.newest.versions.items()}
            self._listener(RevisionLoaded(fleet.newest.revision, versions))


def refuse_other_parent(bundle: Bundle, loaded: Mapping[Version, Bundle]) -> None:
    """Refuse a trainer's bundle whose parent is loaded and has another content.

    Args:
        bundle: The bundle.
        loaded: All bundles that are loaded.

    Raises:
        ModelError: It was compared with another bundle than the champion.
    """
    granted = bundle.trust.granted.get(bundle.manifest.label)
    if granted is None:
        return
    for other in loaded.values():
        if other.manifest.label == granted.parent and (
            other.manifest.content_hash != granted.parent_content
        ):
            raise ModelError(
                f"{bundle.manifest.label}: was compared with another content of {granted.parent}",
                "copy the champion's bundle again, or let the trainer propose another version",
            )


def _lacking(rings: Engine | None, model: Model) -> str:
    """Return what a model needs and the rings do not have; empty while they have no layout."""
    return "" if rings is None else rings.lacks(model.features.engine)


def cold(version: Version, lacking: str, *, served: bool) -> ModelError:
    """Return the error for a version that needs what the rings' layout does not have.

    Args:
        version: The version.
        lacking: What the rings do not have.
        served: Whether the version decides already, by another plan.
    """
    restart = (
        "restart the scorers" if served else f"restart the scorers with --warm {version.label}"
    )
    return ModelError(
        f"{version.label} is warming: {lacking}", f"{restart}; it then begins when it is warm"
    )
