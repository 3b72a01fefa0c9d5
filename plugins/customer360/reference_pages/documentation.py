"""The generated pages of docs/: what the code already says, written out for readers.

``python -m customer360.reference_pages.documentation`` writes them; a test fails when a page
differs from what the code says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from customer360.settings import PROJECT_ROOT, Settings, rule_of, variable

_GENERATED = "<!-- Written by `make docs`; edit the source that it names, not this page. -->\n\n"


def settings_page() -> str:
    """docs/settings.md: one row per environment variable, from the fields of Settings."""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable; the defaults suit the embedded stack. "
        "Source: `plugins/customer360/settings.py`.",
        "",
        "Every command refuses values that are not allowed, all of them in one message, and warns about variables that "
        "begin with `C360_` and are no settings.",
        "",
        "| variable | default | allowed | what it does |",
        "|---|---|---|---|",
    ]
    for name, setting in Settings.model_fields.items():
        default = setting.default
        if isinstance(default, Path):
            default = default.relative_to(PROJECT_ROOT) if default.is_relative_to(PROJECT_ROOT) else default
        shown = f"`{default}`" if str(default) else "(empty)"
        lines.append(f"| `{variable(name)}` | {shown} | {rule_of(setting).allowed} | {setting.description} |")
    return _GENERATED + "\n".join(lines) + "\n"


def _tables_page() -> str:
    from customer360.reference_pages.tables_page import tables_page

    return _GENERATED + tables_page()


def _feeds_page() -> str:
    from customer360.reference_pages.feeds_page import feeds_page

    return _GENERATED + feeds_page()


def _privacy_page() -> str:
    from customer360.reference_pages.privacy_page import privacy_page

    return _GENERATED + privacy_page()


PAGES: dict[str, Callable[[], str]] = {
    "feeds.md": _feeds_page,
    "privacy.md": _privacy_page,
    "settings.md": settings_page,
    "tables.md": _tables_page,
}


def write_pages(folder: Path) -> list[Path]:
    """Write every generated page below ``folder``; returns the files."""
    written = []
    for name, page in PAGES.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page())
        written.append(target)
    return written


if __name__ == "__main__":
    for path in write_pages(PROJECT_ROOT / "docs"):
        print(path.relative_to(PROJECT_ROOT))  # noqa: T201
