"""What every importer takes and returns."""

from stream_scorer.models.importing.imported.model import (
    ImportedModel,
    ImportedOnnx,
    ImportOptions,
    ModelSource,
    Parameter,
)

__all__ = ["ImportOptions", "ImportedModel", "ImportedOnnx", "ModelSource", "Parameter"]
