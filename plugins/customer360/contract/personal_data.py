"""The catalogue of personal data: each column of each schema has one tag, from personal_data.yml beside this file.

docs/privacy.md is generated from it, and a column without a tag fails a test.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, get_args

import yaml

Tag = Literal["none", "pseudonym", "personal", "sensitive"]
TAGS: tuple[Tag, ...] = get_args(Tag)
FREE_TEXT = "free_text"
"""The entries of the catalogue that are personal where they are kept as landed, and published with what is personal in
them masked: tag none."""
MASKED_SCHEMAS = frozenset({"candidate", "marts", "ops"})
"""The schemas that have free text with personal values masked."""
SCHEMAS = (
    "raw", "quarantine", "state", "staging", "identity", "intermediate", "candidate", "marts", "marts_pii", "ops",
)  # fmt: skip


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Tag, or ``free_text`` → column → what it holds.

    A column is given by its name alone, which then means the same everywhere, or as ``schema.*.column`` or
    ``schema.table.column`` where it means something else there.
    """
    read: dict[str, dict[str, str] | str] = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text("utf-8"))
    listed = {section: dict.fromkeys(of.split(), "") if isinstance(of, str) else of for section, of in read.items()}
    assert set(listed) == {*TAGS, FREE_TEXT}  # noqa: S101 - the file comes with the program
    return listed


def entry_of(schema: str, table: str, column: str) -> tuple[str, str] | None:
    """The section and the entry of the catalogue that a column falls under; None without one."""
    for entry in (f"{schema}.{table}.{column}", f"{schema}.*.{column}", column):
        for section, entries in catalogue().items():
            if entry in entries:
                return section, entry
    return None


def tag_of(schema: str, table: str, column: str) -> Tag | None:
    """What a column holds of people; None: no entry of the catalogue fits it.

    ``none``: nothing by itself; beside a key it says something of that person, and goes with the row. ``pseudonym``: a
    key or id that leads to a person in another table. ``personal``: it names or reaches a person, or may.
    ``sensitive``: what a person wrote, or what would hurt if it were seen.
    """
    found = entry_of(schema, table, column)
    if found is None:
        return None
    if found[0] == FREE_TEXT:
        return "none" if schema in MASKED_SCHEMAS else "personal"
    return next(tag for tag in TAGS if tag == found[0])
