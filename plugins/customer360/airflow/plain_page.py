"""Plain pages inside Airflow: readable on a phone and in dark mode, without scripts."""

from __future__ import annotations

import html
import re
from pathlib import Path
from string import Template

from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'"

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
code { font: .9em ui-monospace, monospace; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
</style></head><body>$body</body></html>""")


def render(path: Path) -> str:
    """Markdown as HTML; HTML within it is shown as text. Links to other pages of the folder lose their .md."""
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(path.read_text())
    return re.sub(r'href="([a-z0-9_-]+)\.md', r'href="\1', text)


def page(title: str, body: str) -> HTMLResponse:
    """A page in the house's plain style: readable on a phone, in dark mode, without scripts."""
    return HTMLResponse(
        _PAGE.substitute(title=html.escape(title), body=body),
        headers={"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"},
    )
