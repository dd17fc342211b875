"""Reads a library's model file with the importers."""

from pathlib import Path

from stream_scorer.models.importing.formats.known import OnnxSource, read_source
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions
from stream_scorer.models.predictors.parts import ScoringModel


def read_scoring_model(path: Path, options: ImportOptions) -> ScoringModel:
    """Return the model in a file of any library but ONNX.

    Raises:
        ModelError: The file is refused.
    """
    source = read_source(path, options)
    if isinstance(source, OnnxSource) or not isinstance(source.imported, ImportedModel):
        raise TypeError(f"{path} is an ONNX file")
    return source.imported.model
