"""What the steps of a retraining do: with the topics, the estimators, the store and the log."""

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from stream_scorer.core.decision.policy import possible_thresholds
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.dataset.contract import DatasetOrder
from stream_scorer.dataset.run import build_dataset
from stream_scorer.dataset.stream import read_stream
from stream_scorer.errors import ModelError, RolloutError, SettingsError
from stream_scorer.models.bundles.bundle import (
    GATE,
    MANIFEST,
    Manifest,
    ParentLineage,
    ThresholdCosts,
    read_manifest,
)
from stream_scorer.models.bundles.bundle_signature import SIGNATURE, sign
from stream_scorer.models.bundles.loader import Bundle, load_bundle
from stream_scorer.models.bundles.trust import GrantedBundle, trust_of
from stream_scorer.models.bundles.writer import write_copy
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.retraining.gate.compare import (
    OutcomeThresholds,
    TestRows,
    gate_bytes,
    judge,
)
from stream_scorer.retraining.rules.contract import RetrainRules
from stream_scorer.retraining.run.contract import Run
from stream_scorer.retraining.run.gate_rows import refolded_features
from stream_scorer.retraining.run.proposals import ended, grant_of, proposal
from stream_scorer.retraining.run.steps import GateReport
from stream_scorer.retraining.run.store import publish
from stream_scorer.retraining.search.contract import SearchTrial
from stream_scorer.retraining.search.search import Parameters, best_of, search
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.judging_rules import DecisionCosts
from stream_scorer.rollout.plan.rollout_state import Granted, RolloutState
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.security.keys import TrustedKey, key_id
from stream_scorer.settings import Settings
from stream_scorer.training.days import Days, Split
from stream_scorer.training.labelled import (
    DOCUMENT,
    DatasetFolder,
    DayRows,
    LabelledData,
    cut_days,
)
from stream_scorer.training.models import fit, make_model
from stream_scorer.training.reference_rows import reference_columns
from stream_scorer.training.run import TrainingJob, train_on

_TRIES: Final = 3
_DAY_MS: Final = 86_400_000
Parts = tuple[DayRows, DayRows, DayRows]


class TrainerWork:
    """The steps of a retraining; see ``steps.RetrainWork``. Not thread-safe.

    Args:
        settings: Of the process.
        rules: The rules of retraining.
        log: The control log.
        key: The trainer's.
        directory: Of the trainer; each run has its own folder there.
        audit: Records each plan before it is written.

    Raises:
        SettingsError: The store of the bundles cannot be opened, or the rules name an estimator or
            a parameter that does not exist.
    """

    def __init__(
        self, settings: Settings, rules: RetrainRules, log: ControlLog, key: Ed25519PrivateKey,
        directory: Path, audit: AuditTrail,
    ) -> None:  # fmt: skip
        # A wrong name would end each run only after its dataset has been built.
        make_model(rules.model, dict.fromkeys(rules.space))
        self._settings = settings
        self._rules = rules
        self._log = log
        self._key = key
        self._directory = directory
        self._audit = audit
        self._store = open_store(settings.models)
        self._parts: tuple[int, Parts] | None = None

    # -- the steps ----------------------------------------------------------------------------

    def dataset(self, run: Run) -> str:
        """Build the dataset of a run; return the digest of ``dataset.json``."""
        folder = self._folder(run, "dataset")
        if (folder / DOCUMENT).exists():
            return DatasetFolder.open(folder).digest
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        return build_dataset(self._settings, self._order(run)).digest

    def search(self, run: Run, keep: Callable[[SearchTrial], None]) -> Sequence[SearchTrial]:
        """Return all trials of the search."""
        training, validation, _ = self._days(run)

        def value(parameters: Parameters) -> tuple[float, float]:
            began = time.monotonic()
            model = make_model(self._rules.model, parameters)
            try:
                with threadpool_limits(1):
                    fit(model, training.features, training.fraud, training.rows.weight)
                    scores = model.predict_proba(validation.features)[:, 1]
            except ValueError:
                return float("nan"), time.monotonic() - began
            weight = validation.rows.weight
            found = average_precision_score(validation.fraud, scores, sample_weight=weight)
            return float(found), time.monotonic() - began

        trials = list(run.trials)
        rules = self._rules
        for trial in search(rules.space, rules.trials, rules.seed, run.trials, value):
            trials.append(trial)
            keep(trial)
        return trials

    def fit(self, run: Run) -> str:
        """Fit the best trial on the training days, and choose its thresholds."""
        store = self._folder(run, "fitted")
        shutil.rmtree(store, ignore_errors=True)
        costs = self._costs().model_dump(exclude={"most"})
        order = TrainingJob(
            data=self._folder(run, "dataset"), model=self._rules.model, version=run.version,
            name=run.label.partition(":")[0], store=store, split=self._split(run),
            parameters=dict(best_of(run.trials).parameters), plan=self._state().shared_plan,
            costs=ThresholdCosts(**costs), stream=partial(self._stream, run),
        )  # fmt: skip
        directory, manifest = train_on(order.data, order)
        self._refuse_feature_set(manifest)
        return _sha256((directory / MANIFEST).read_bytes())

    def gate(self, run: Run) -> GateReport:
        """Compare the challenger with the champion on the test days."""
        _, _, test = self._days(run)
        champion = self._champion(run)
        challenger = load_bundle(self._fitted(run))
        weight = test.rows.weight
        known, plan = test.features, self._state().shared_plan
        if self._rules.features is not None:
            order = replace(self._order(run), out=self._folder(run, "champion"))
            days = self._split(run).test
            known = refolded_features(self._settings, order, champion.manifest, days, test, plan)
        rows = TestRows(
            test.fraud.astype(np.bool_), test.rows.amount,
            np.ones(len(test.fraud)) if weight is None else weight, test.rows.card, test.rows.day,
            champion.predictor.scores(known), challenger.predictor.scores(test.features),
        )  # fmt: skip
        gated = judge(
            rows, _thresholds(champion.manifest, plan), _thresholds(challenger.manifest, plan),
            self._costs().bounded(), run.tolerance,
        )  # fmt: skip
        data = gate_bytes(gated, run.parent, run.label, run.digests["dataset"], run.tolerance)
        (self._folder(run, "") / GATE).write_bytes(data)
        return GateReport(gated, data)

    def bundle(self, run: Run) -> str:
        """Sign the challenger with its gate report and parent, and write it to the store."""
        fitted, signed = self._fitted(run), self._folder(run, "signed")
        manifest = read_manifest(fitted)
        gate = (self._folder(run, "") / GATE).read_bytes()
        if _sha256(gate) != run.digests["gate"]:
            raise ModelError(f"bundle {run.label}: {GATE} was changed", "train again")
        lineage = ParentLineage(
            label=run.parent, content_hash=self._champion(run).manifest.content_hash,
            dataset_sha256=run.digests["dataset"], gate_sha256=run.digests["gate"],
        )  # fmt: skip
        files = {name: (fitted / name).read_bytes() for name in manifest.files} | {GATE: gate}
        shutil.rmtree(signed, ignore_errors=True)
        directory = write_copy(
            signed, manifest.model_copy(update={"lineage_parent": lineage}), files
        )
        data = (directory / MANIFEST).read_bytes()
        (directory / SIGNATURE).write_bytes(sign(read_manifest(directory), data, self._key))
        publish(self._store, directory, data)
        granted = self._granted(run, _sha256(data))
        trust = trust_of(self._settings.models).with_granted({run.label: granted})
        load_bundle(find(self._store, run.label), trust)
        return _sha256(data)

    def propose(self, run: Run) -> str:
        """Write the plan to the control log, unless it is there."""
        for attempt in range(_TRIES):
            state = self._log.refresh()
            known = state.trained.get(run.label)
            if known is not None and known.manifest_sha256 == run.digests["bundle"]:
                return state.head.hex()
            right = self._granted(run, run.digests["bundle"])
            names = ("parent", "parent_content", "manifest_sha256", "gate_sha256",
                     "dataset_sha256", "feature_set")  # fmt: skip
            origin = {name: getattr(right, name) for name in names}
            plan = proposal(state, self._key_id, run.label, self._rules.ramp, origin)
            actor = f"key:{self._key_id}"
            self._audit.record("rollout.plan", plan.name, plan.model_dump(mode="json"), actor)
            try:
                self._log.append(CommandKind.PLAN, plan, self._key, expected=state.head)
            except RolloutError as error:
                self._audit.record("rollout.refused", plan.name, {"why": error.what}, actor)
                if attempt + 1 == _TRIES or not self._log.log.moved_since(state.head):
                    raise
                continue
            return self._log.log.state.head.hex()
        raise RolloutError("other commands came first", "the next retraining tries again")

    def watch(self, run: Run) -> str:
        """Return how the rollout ended; empty while it runs."""
        return ended(self._log.refresh(), run.label)

    # -- parts --------------------------------------------------------------------------------

    @property
    def _key_id(self) -> str:
        return key_id(self._key.public_key())

    def _folder(self, run: Run, name: str) -> Path:
        return self._directory / "runs" / str(run.number) / name

    def _order(self, run: Run) -> DatasetOrder:
        folder = self._folder(run, "dataset")
        return DatasetOrder(
            run.first_ms, run.end_ms, run.began_at, folder, self._rules.features, 1.0, run.parent
        )  # fmt: skip

    def _refuse_feature_set(self, manifest: Manifest) -> None:
        """Refuse a version that no plan within the grant can name."""
        number, granted = self._own_grant()
        if manifest.feature_set not in granted.grant.feature_sets:
            raise RolloutError(
                f"grant {number} does not have the feature set {manifest.feature_set}",
                "an operator adds it with a new grant: stream-scorer retrain grant",
            )

    def _stream(self, run: Run, features: FeatureSet) -> LabelledData:
        """Return all transactions of the dataset's days, of which the reference is made."""
        plan = self._state().shared_plan
        return read_stream(
            self._settings, self._order(run), features, plan, reference_columns(plan)
        )  # fmt: skip

    def _fitted(self, run: Run) -> Path:
        name, _, version = run.label.partition(":")
        return self._folder(run, "fitted") / name / version

    def _state(self) -> "_Shared":
        return _Shared(self._log.log.state)

    def _costs(self) -> DecisionCosts:
        """Return the costs by which a rollout of the trainer is judged."""
        return self._own_grant()[1].grant.guard.costs

    def _own_grant(self) -> tuple[int, Granted]:
        found = grant_of(self._log.log.state, self._key_id)
        if found is None:
            raise RolloutError(f"key {self._key_id} has no grant", "see docs/RETRAINING.md")
        return found

    def _champion(self, run: Run) -> Bundle:
        granted = self._log.log.state.trained
        trust = trust_of(self._settings.models).with_granted(granted)
        return load_bundle(find(self._store, run.parent), trust)

    def _granted(self, run: Run, manifest_sha256: str) -> GrantedBundle:
        """Return the right that an accepted plan gives to the bundle of a run."""
        found = grant_of(self._log.log.state, self._key_id)
        return GrantedBundle(
            run.label, TrustedKey("trainer", self._key.public_key()), 0 if found is None else
            found[0], run.parent, self._champion(run).manifest.content_hash, manifest_sha256,
            run.digests["gate"], run.digests["dataset"],
            read_manifest(self._fitted(run)).feature_set,
        )  # fmt: skip

    def _split(self, run: Run) -> Split:
        """Return the days of a run: the newest are the test's, before them the validation's."""
        rules = self._rules.days
        end = run.end_ms // _DAY_MS
        test, validation = end - rules.test, end - rules.test - rules.validation
        return Split(
            train=Days(_date(run.first_ms // _DAY_MS), _date(validation - 1)),
            validation=Days(_date(validation), _date(test - 1)),
            test=Days(_date(test), _date(end - 1)),
            matured=True,
        )

    def _days(self, run: Run) -> Parts:
        """Return the rows of the three ranges of days; they are read once a run."""
        if self._parts is None or self._parts[0] != run.number:
            folder = DatasetFolder.open(self._folder(run, "dataset"))
            if folder.digest != run.digests["dataset"]:
                raise SettingsError(f"data {folder.path}: was changed", "train again")
            taken, plan = folder.take(), self._state().shared_plan
            self._parts = run.number, cut_days(taken, self._split(run), folder.path, plan)
        return self._parts[1]


class _Shared:
    """What all arms share now."""

    def __init__(self, state: RolloutState) -> None:
        if state.routing is None:
            raise RolloutError("there is no plan yet", "begin: stream-scorer rollout start")
        self.shared_plan = state.routing.shared


def _thresholds(manifest: Manifest, plan: Plan) -> OutcomeThresholds:
    """Return a version's thresholds of transactions that fit no segment of the plan's policy."""
    *_, default = possible_thresholds(plan, manifest.policy)
    return OutcomeThresholds(default.review, default.block)


def _date(day: int) -> date:
    return datetime(1970, 1, 1, tzinfo=UTC).date() + timedelta(days=day)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
