"""The pages that people read: Jinja2 templates with one stylesheet, each page whole in one file.

A page carries its style and its script and asks for nothing from anywhere: it opens from a disk without a network.
Whatever is put into a template is escaped.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

SELF_CONTAINED = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""The content security policy of a page that has everything it needs: it can neither load nor send anything."""


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def render(name: str, /, **values: Any) -> str:
    """A page as HTML, from the template of that name with these values.

    Raises:
        jinja2.TemplateNotFound: there is no such template.
    """
    return _environment().get_template(name).render(**values)
