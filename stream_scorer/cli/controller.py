"""``stream-scorer controller``: judge the rollout, and move it as its plan allows."""

from stream_scorer.cli.options import ClusterOptions, InstanceOption


def controller(*, instance: InstanceOption = None, options: ClusterOptions) -> None:
    """Judge the rollout in the control log; step, promote and roll back as its plan allows.

    Several instances stand by for each other. Each keeps its own file: controller.state.
    On the host of a scorer it needs another http.port; 0 picks a free one.

    Exit codes: as those of run; 9 where the file is damaged or another process has it.
    """
    from stream_scorer.rollout.controller.process import run_controller  # noqa: PLC0415 numba loads slowly

    run_controller(options.connected({"kafka": {"instance": instance}}))
