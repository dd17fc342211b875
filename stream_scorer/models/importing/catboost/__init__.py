"""The importer of CatBoost models, from the JSON that CatBoost writes. CatBoost is not needed."""

from stream_scorer.models.importing.catboost.model import read_catboost

__all__ = ["read_catboost"]
