"""The versions of a scorer that follows the control log: loaded while it decides.

A thread of its own reads the log, loads and verifies what a revision names, compiles it for the
rings that are there, and then shows it, whole. What cannot be used is refused with its reason, and
the revision before it goes on.
"""

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from stream_scorer.apps.control_log import ControlLog
from stream_scorer.apps.fleet import Fleet
from stream_scorer.core.deciding import Model
from stream_scorer.core.plan import Plan
from stream_scorer.core.routing import Routing, Version
from stream_scorer.errors import ModelError, UnavailableError
from stream_scorer.happenings import (
    DependencyBack,
    DependencyUnavailable,
    Listener,
    PlanAwaited,
    RevisionLoaded,
    RevisionRefused,
)
from stream_scorer.models.loader import Bundle, load_bundle, models_of
from stream_scorer.models.remote import open_store
from stream_scorer.models.store import find
from stream_scorer.models.trust import trust_of
from stream_scorer.settings import Settings

_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_LOG, _STORE = "rollout", "models"


class LiveVersions:
    """What the control log's revisions name, ready to decide.

    Args:
        settings: The cluster, the store, and whose signatures count.
        listener: Told what is loaded, refused and waited for.
        warm: NAME:VERSION whose fields and windows the rings keep beside; None: no other.

    Raises:
        StreamScorerError: The log cannot be read; see ``ControlLog``.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        warm: str | None = None,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._prepare: Callable[[Model, Plan], None] = lambda *_: None
        self._log = ControlLog(settings)
        self._trust = trust_of(settings.models)
        self._warm = warm
        self._beside: Version | None = None
        self._bundles: dict[Version, Bundle] = {}
        self._refused: dict[int, str] = {}
        self._wanted: set[int] = set()
        self._first: Fleet | None = None
        self._fleet: Fleet | None = None
        self._failure: Exception | None = None
        self._down: set[str] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def fleet(self) -> Fleet:
        """What is ready now.

        Raises:
            Exception: What ended following the log, such as a later program's command.
        """
        if self._failure is not None:
            raise self._failure
        if self._fleet is None:
            raise RuntimeError("no plan was waited for")
        return self._fleet

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """All that was loaded so far."""
        return tuple(self._bundles.values())

    @property
    def warming(self) -> Model | None:
        """The version that is warmed beside."""
        return None if self._beside is None else self.fleet.models[self._beside]

    def wait(self, active: Iterable[int]) -> Fleet:
        """Return the first fleet, once there is a plan.

        Args:
            active: Revisions that partitions were decided by last.

        Raises:
            ModelError: Nothing that the log names can be used.
            StreamScorerError: The log cannot be followed.
        """
        self._wanted.update(active)
        self._log.refresh()
        while not self._log.log.routings:
            self._listener(PlanAwaited())
            self._log.poll(_POLL_SECONDS)
        self._listener(PlanAwaited(over=True))
        if self._warm is not None:
            bundle = load_bundle(find(open_store(self._settings.models), self._warm), self._trust)
            self._beside = Version(bundle.manifest.name, bundle.manifest.version)
            self._bundles[self._beside] = bundle
        self._assemble()
        if self._fleet is None:
            revision, reason = max(self._refused.items())
            raise ModelError(
                f"revision {revision}: {reason}", "start a rollout of what can be loaded"
            )
        return self._fleet

    def need(self, revision: int) -> None:
        """Ask for an older revision, by which a partition was decided last."""
        self._wanted.add(revision)

    def begin(self, prepare: Callable[[Model, Plan], None]) -> None:
        """Follow the log from now on, on a thread of its own.

        Args:
            prepare: Touches a model once before it decides.
        """
        self._prepare = prepare
        self._thread = threading.Thread(target=self._follow, name="control-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it. Does not wait for a store that hangs."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- on its own thread ------------------------------------------------------------------

    def _follow(self) -> None:
        wanted, pending = set(self._wanted), False
        while not self._closed.is_set():
            try:
                self._step(pending=pending or wanted != self._wanted)
                wanted, pending = set(self._wanted), False
            except UnavailableError:
                pending = True
                self._closed.wait(_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 whatever it is, who decides must hear of it
                self._failure = error
                return
        self._log.close()

    def _step(self, *, pending: bool) -> None:
        before = self._log.log.state.revision
        self._reach(_LOG, lambda: self._log.poll(_POLL_SECONDS))
        if pending or self._log.log.state.revision != before:
            self._reach(_STORE, self._assemble)

    def _reach(self, what: str, act: Callable[[], object]) -> None:
        """Do what needs the outside; say once that it is gone, and once that it is back."""
        try:
            act()
        except UnavailableError as error:
            if what not in self._down:
                self._down.add(what)
                self._listener(DependencyUnavailable(what, str(error)))
            raise
        if what in self._down:
            self._down.discard(what)
            self._listener(DependencyBack(what))

    def _assemble(self) -> None:
        """Load what the newest revisions name, and show it."""
        usable: list[Routing] = []
        refused: dict[int, str] = {}
        settled = False
        for routing in reversed(list(self._log.log.routings.values())):
            if settled and routing.revision not in self._wanted:
                continue
            reason = self._why_not(routing)
            if reason:
                refused[routing.revision] = reason
            else:
                usable.append(routing)
                # What is due at once is due instead of all that came before it.
                settled = settled or routing.effective_at is None
        if not usable:
            return
        usable.reverse()
        models = self._compiled(usable[-1].shared)
        fleet = Fleet(models, tuple(usable), refused)
        # The rings are laid out for it.
        self._first = self._first or fleet
        known = self._fleet
        self._fleet = fleet
        if known is None or known.newest.revision != fleet.newest.revision:
            versions = {arm: v.label for arm, v in fleet.newest.versions.items()}
            self._listener(RevisionLoaded(fleet.newest.revision, versions))

    def _why_not(self, routing: Routing) -> str:
        """Return why a revision cannot be used; load what it names if it can."""
        revision = routing.revision
        if revision in self._refused:
            return self._refused[revision]
        loaded = dict(self._bundles)
        try:
            for version in dict.fromkeys(routing.versions.values()):
                if version not in loaded:
                    folder = find(open_store(self._settings.models), version.label)
                    loaded[version] = load_bundle(folder, self._trust)
                    self._refuse_cold(loaded, version, routing.shared)
                    self._touch(loaded, version, routing.shared)
        except ModelError as error:
            self._refused[revision] = str(error)
            self._listener(RevisionRefused(revision, str(error)))
            return str(error)
        self._bundles = loaded
        return ""

    def _refuse_cold(self, loaded: dict[Version, Bundle], version: Version, shared: Plan) -> None:
        """Refuse a version that the rings, as they were laid out, cannot serve."""
        engine = models_of(list(loaded.values()), shared)[0].features.engine
        lacking = self._first.features.engine.lacks(engine) if self._first is not None else ""
        if lacking:
            raise ModelError(
                f"{version.label} is warming: {lacking}",
                f"restart the scorers with --warm {version.label}, and roll it out when it is warm",
            )

    def _touch(self, loaded: dict[Version, Bundle], version: Version, shared: Plan) -> None:
        """Let a version decide made-up transactions, so that no real one is the first."""
        models = dict(zip(loaded, models_of(list(loaded.values()), shared), strict=True))
        try:
            self._prepare(models[version], shared)
        except Exception as error:
            raise ModelError(
                f"{version.label}: fails for made-up transactions: {type(error).__name__}: {error}",
                "mend the model, and give it a version of its own",
            ) from error

    def _compiled(self, shared: Plan) -> dict[Version, Model]:
        models = models_of(list(self._bundles.values()), shared)
        return dict(zip(self._bundles, models, strict=True))
