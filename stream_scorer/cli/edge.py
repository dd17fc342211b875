"""``stream-scorer edge``: devices that decide offline."""

from stream_scorer.cli import edge_publish, edge_update
from stream_scorer.cli.options import CommandGroup, ConfigJsonOptions

app = CommandGroup("Devices that decide offline: their updates.", ConfigJsonOptions)
app.command()(edge_update.update)
app.add_typer(edge_publish.app, name="publish")
