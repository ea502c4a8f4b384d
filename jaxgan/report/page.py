"""A self-contained HTML page: opens anywhere, without network, script or server; light or dark as its reader prefers."""

from __future__ import annotations

from pathlib import Path

from jaxgan.pictures.images import write_whole
from jaxgan.report.curves import escape


def write(path: Path | str, title: str, body: list[str], style: str) -> Path:
    """Writes a page, whole or not at all, and returns its path. Raises `RunError` if it cannot be written.

    Args:
      title: plain text. body: HTML, one block after the other; embedded images have to be data URIs.
      style: rules besides those of `STYLE`, which know the colours --paper, --ink, --quiet (less important), --rule, --bad and --link.
    """
    return write_whole(
        path, PAGE.format(title=escape(title), style=STYLE + style, body="\n".join(body)).encode()
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #22262b; --quiet: #6b7280; --rule: #e4e5e7; --bad: #b3261e; --link: #2563ab; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #dcdfe3; --quiet: #8d949e; --rule: #2d3136; --bad: #f28b82; --link: #6aa5e8; } }
body { margin: 0 auto; padding: 2.5rem 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; font-weight: 600; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; font-weight: 600; }
header p { color: var(--quiet); }
ul { margin: 0; padding-left: 1.2rem; }
figure { margin: 0; min-width: 0; }
img { display: block; height: auto; border-radius: 3px; }
table { border-collapse: collapse; font-size: .85rem; } tr { border-bottom: 1px solid var(--rule); }
th { text-align: left; font-weight: 400; color: var(--quiet); white-space: nowrap; } td { overflow-wrap: anywhere; }
th, td { vertical-align: top; font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; font-size: .8rem; color: var(--quiet); }
"""
