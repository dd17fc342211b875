"""What every importer takes and returns."""

from stream_scorer.models.importing.imported.model import (
    ImportedModel,
    ImportOptions,
    ModelSource,
    Parameter,
)

__all__ = ["ImportOptions", "ImportedModel", "ModelSource", "Parameter"]
