"""``stream-scorer edge``: devices that decide offline, and their operators."""

from stream_scorer.cli import edge_device, edge_operator, edge_publish, edge_update
from stream_scorer.cli.options import ClusterJsonOptions, CommandGroup

app = CommandGroup(
    "Devices that decide offline: their process, their updates, and operators' commands.",
    ClusterJsonOptions,
)
app.command()(edge_device.init)
app.command()(edge_device.install)
app.command()(edge_device.run)
app.command()(edge_device.status)
app.command()(edge_update.update)
app.command()(edge_operator.provision)
app.command()(edge_operator.revoke)
app.command()(edge_operator.progress)
app.command()(edge_operator.report)
app.add_typer(edge_publish.app, name="publish")
