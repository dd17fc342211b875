"""The frame of the report's page, and its style sheet."""

import base64
import hashlib
from html import escape
from typing import Final

from stream_scorer.terminal_text import printable

_STYLE: Final = """
:root { --ink: #1a2433; --quiet: #5b6778; --line: #dde3ea; --soft: #f5f7fa; --before: #9aa8bb;
  --after: #1f6feb; --page: #b42318; --warn: #b25e09; --note: #47566b; --good: #1a7f4b; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 28px 24px 60px; color: var(--ink);
  background: #fff; font: 14px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 25px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 34px 0 8px;
  border-bottom: 1px solid var(--line); padding-bottom: 4px; }
h3 { font-size: 15px; margin: 0 0 4px; } p { margin: 4px 0 10px; max-width: 76ch; }
.quiet, .tick { color: var(--quiet); fill: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 10px;
  margin: 16px 0; }
.tile { background: var(--soft); border-radius: 8px; padding: 10px 12px; }
.tile b { display: block; font-size: 23px; line-height: 1.2; }
.card { border: 1px solid var(--line); border-left: 5px solid var(--note); border-radius: 8px;
  padding: 12px 16px; margin: 12px 0; break-inside: avoid; }
.card.page { border-left-color: var(--page); } .card.warn { border-left-color: var(--warn); }
.badge { display: inline-block; border-radius: 4px; padding: 0 7px; font-size: 12px;
  font-weight: 600; color: #fff; background: var(--note); text-transform: uppercase; }
.badge.page { background: var(--page); } .badge.warn { background: var(--warn); }
.badge.good { background: var(--good); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 14px; }
figure { margin: 8px 0; break-inside: avoid; }
figcaption { color: var(--quiet); font-size: 12.5px; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; margin: 6px 0 12px; }
th { text-align: left; color: var(--quiet); font-weight: 600;
  border-bottom: 1px solid var(--line); }
th, td { padding: 3px 8px 3px 0; vertical-align: top; overflow-wrap: anywhere; }
tr { break-inside: avoid; } tbody tr:nth-child(even) { background: var(--soft); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 12.5px ui-monospace, Menlo, Consolas, monospace; background: var(--soft);
  padding: 1px 4px; border-radius: 3px; overflow-wrap: anywhere; }
.chart { width: 100%; height: auto; display: block; } .tick { font-size: 11px; }
.grid { stroke: var(--line); stroke-width: 1; } .band { fill: #dfe8f5; }
.expected { fill: none; stroke: var(--before); stroke-width: 1.5; stroke-dasharray: 5 4; }
.value { fill: none; stroke: var(--after); stroke-width: 1.8; }
.before { fill: var(--before); } .after { fill: var(--after); }
.around { fill: var(--page); opacity: 0.1; } .onset { stroke: var(--page); stroke-width: 1.6; }
.mark { fill: var(--page); font-size: 11px; font-weight: 600; }
.meter { vertical-align: middle; } .track { fill: var(--line); } .low { fill: var(--before); }
.high { fill: var(--warn); } .full { fill: var(--page); }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 4px 0 10px; }
.key.before { background: var(--before); } .key.after { background: var(--after); }
@page { size: A4; margin: 14mm; }
@media print { body { padding: 0; max-width: none; font-size: 11px; } h2 { break-after: avoid; }
  .tile, tbody tr:nth-child(even), code { print-color-adjust: exact; } }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
)
"""What the page may load and run: its own style sheet, nothing else."""


def safe(text: object) -> str:
    """Return a text for HTML: escaped, with control and format characters made visible."""
    return escape(printable(str(text)))


def page(title: str, body: str) -> str:
    """Return a complete page.

    Args:
        title: Its title; it is escaped.
        body: Its content as HTML; whoever made it has escaped every text.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{safe(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )
