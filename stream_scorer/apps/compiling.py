"""Compile what a scorer runs, and leave: ``python -m stream_scorer.apps.compiling``.

An image calls it when it is built, so that the code is kept in a folder that nobody can write to
when the image runs; see ``core.kernels.cache``.
"""

from stream_scorer.apps.scorer import Deployment, load_model, open_codecs
from stream_scorer.apps.warming import warm
from stream_scorer.codec.schemas import FileRegistry
from stream_scorer.settings import Settings


def main() -> None:
    """Send made-up transactions through the model that is shipped with the package."""
    settings = Settings()
    model, plan = load_model(settings, Deployment())
    warm(open_codecs(settings, plan, FileRegistry(settings.registry.directory)), model, plan)


if __name__ == "__main__":
    main()
