"""``stream-scorer edge``: devices that decide offline, and their operators."""

from stream_scorer.cli import edge_operator
from stream_scorer.cli.options import ClusterJsonOptions, CommandGroup

app = CommandGroup("Devices that decide offline: their operators' commands.", ClusterJsonOptions)
app.command()(edge_operator.provision)
app.command()(edge_operator.revoke)
app.command()(edge_operator.progress)
app.command()(edge_operator.report)
