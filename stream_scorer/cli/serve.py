"""``stream-scorer serve``: answer by HTTP and gRPC until a signal ends it."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import ClusterOptions
from stream_scorer.errors import SettingsError
from stream_scorer.hardening.settings_check import NOT_IN_PRODUCTION, refuse_unsafe
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import PRODUCTION


def serve(
    *,
    decisions: Annotated[
        bool,
        typer.Option(
            "--decisions", help="Serve /v1/decisions: a transaction in, its decision out."
        ),
    ] = False,
    plan_of: Annotated[
        str | None,
        typer.Option(
            "--plan-of",
            help="Model whose plan judges /v1: NAME or NAME:VERSION. Without it and --plan, the "
            "rollout's plan does.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="Plan that judges /v1: a file, or a folder with plan.toml."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Model that /v2 serves: NAME or NAME:VERSION; can be given several times; "
            "default: serving.inference.models. It has no effect on /v1.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port of the API; default: serving.port.")
    ] = None,
    openapi: Annotated[
        bool,
        typer.Option("--openapi", help="Print the OpenAPI document of the API; start nothing."),
    ] = False,
    options: ClusterOptions,
) -> None:
    """Answer requests by HTTP and gRPC: decisions in the call, scores of feature vectors.

    See docs/API.md. /v1 judges by the plan of the rollout, as scorers without --model do. If the
    scorers have a --model, name the same plan with --plan-of or --plan.

    --openapi needs the models, a named plan and the schema registry, but no broker.

    On SIGTERM, requests in flight are finished within serving.drain_seconds; a second signal ends
    the process.

    Exit codes: 0 after a signal; 2 settings, a certificate or a port; 3 model; 4 schema; 5 broker
    or registry; 11 there is no rollout plan, or the control log is incomplete.
    """
    overrides = {"serving": {"port": port}}
    settings = options.settings(overrides)
    if not openapi:
        if decisions or settings.serving.edge.enabled:
            settings = options.connected(overrides)
        refuse_unsafe(settings)
    try:
        from stream_scorer.serving.openapi.document import document_bytes  # noqa: PLC0415
        from stream_scorer.serving.server.parts import Asked  # noqa: PLC0415 an extra
        from stream_scorer.serving.server.process import run_server  # noqa: PLC0415
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"granian", "grpc", "msgspec"}:
            raise
        raise SettingsError(
            f"serve: the Python package {package} is missing",
            "install stream-scorer with its extra `http`",
        ) from error
    follow = plan_of is None and plan is None
    deployment = Deployment(plan_of or "", plan, follow=follow) if decisions else None
    asked = Asked(deployment, tuple(model or ()))
    if openapi:
        if decisions and follow:
            raise SettingsError(
                "--openapi: the records of /v1 are those of a plan, and none is named",
                "give --plan-of or --plan; or get /openapi.json from a running server",
            )
        typer.echo(document_bytes(asked.document(settings)), nl=False)
        return
    if settings.mode != PRODUCTION:
        typer.echo(NOT_IN_PRODUCTION, err=True)
    run_server(settings, asked.compose, lambda line: typer.echo(line, err=True))
