"""Plain pages inside Airflow: readable on a phone and in dark mode, without scripts."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt
from markupsafe import Markup

from customer360.templates import render as render_template

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'"


def render(path: Path) -> str:
    """Markdown as HTML; HTML within it is shown as text. Links to other pages of the folder lose their .md."""
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(path.read_text())
    return re.sub(r'href="([a-z0-9_-]+)\.md', r'href="\1', text)


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A page without scripts around a body that is HTML already: whoever calls it has escaped what is not ours."""
    ready = Markup(body)  # noqa: S704 - escaped by the caller  # nosec B704
    return HTMLResponse(
        render_template("plain.html", title=title, body=ready),
        status_code=status,
        headers={"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"},
    )
