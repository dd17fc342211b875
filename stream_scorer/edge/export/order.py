"""What an export is asked for, what the targets are given, and what is reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.edge.export.golden_rows import ExpectedRows
from stream_scorer.edge.export.policy_image import PolicyImage
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.models.predictors.predictors import ScoringPredictor

TABLES, GOLDEN = "tables.bin", "golden.bin"


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What is exported, and where to.

    Attributes:
        reference: NAME:VERSION of the bundle, or NAME for its highest version.
        target: ``c``, ``wasm``, ``python`` or ``onnx``.
        out: The folder to write; it must not exist.
        plan: Plan file or folder; None: the plan next to the model's versions.
        key: Signs the export; None for an unsigned one.
    """

    reference: str
    target: str
    out: Path
    plan: Path | None = None
    key: Ed25519PrivateKey | None = None


@dataclass(frozen=True, slots=True)
class ExportParts:
    """What every target is made from.

    Attributes:
        manifest: The bundle's manifest.
        plan: The plan whose policy decides.
        features: The compiled features.
        policy: The policy of the image.
        predictor: The stream's predictor.
        tables: The table image.
        golden: Rows and their decisions.
    """

    manifest: Manifest
    plan: Plan
    features: FeatureSet
    policy: PolicyImage
    predictor: ScoringPredictor
    tables: bytes
    golden: ExpectedRows


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Attributes:
        model: NAME:VERSION.
        target: The target.
        folder: The folder.
        files: sha256 of each file by name.
        table_bytes: Size of the table image.
        golden_rows: Number of rows that prove the target's arithmetic.
        seconds: How long it took.
        code_bytes: Size of the WebAssembly module; None for a target that is not compiled here.
        differences: Largest differences of margin and score from the stream's; None for a target
            whose bits are equal.
    """

    model: str
    target: str
    folder: Path
    files: Mapping[str, str]
    table_bytes: int
    golden_rows: int
    seconds: float
    code_bytes: int | None = None
    differences: Mapping[str, float] | None = None
