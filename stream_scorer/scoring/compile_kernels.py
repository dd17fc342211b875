"""Compiles all kernels that a scorer and a profiler run, and exits.

``python -m stream_scorer.scoring.compile_kernels``. It is called when an image is built. So the
compiled code is in the image, in a folder that is read-only when the image runs; see
``core.kernels.cache``.
"""

from stream_scorer.codec.records.codecs import open_codecs
from stream_scorer.kafka.client import kernels
from stream_scorer.models.predictors.compile_all import compile_all as compile_predictors
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.scoring.warm_up import warm
from stream_scorer.settings import Settings
from stream_scorer.terminals.profiler_work import RowEncoder
from stream_scorer.terminals.warm_up import warm_profiler


def main() -> None:
    """Run made-up transactions through the shipped model, and small models of every type."""
    settings = Settings()
    model, plan = load_model(settings, Deployment())
    directory = settings.registry.directory
    registry = FileRegistry(directory)
    warm(open_codecs(settings, registry), model, plan)
    topic = settings.kafka.topics.terminal_profiles
    schema = reader_schema("terminal-profile.v2", directory)
    warm_profiler(RowEncoder(registry.id_for(f"{topic}-value", schema), schema, topic, 1), plan)
    kernels.compile_all()
    compile_predictors()


if __name__ == "__main__":
    main()
