"""What a source is: one SQL file with a header that declares what the file reads and what it gives.

The product's own sources are in ``sources/`` of the repository, those of an installation in ``<home>/sources/``. A
file there takes the place of the product's one of the same name, and an upgrade never touches it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from customer360.contract.feeds import FEEDS, Feed
from customer360.errors import Customer360Error
from customer360.settings import PROJECT_ROOT, Settings

SHIPPED = PROJECT_ROOT / "sources"
SHAPES = ("csv", "json", "parquet")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAMESPACE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_HEADER = re.compile(r"\A\s*/\*(?P<header>.*?)\*/(?P<select>.*)\Z", re.DOTALL)
_ALLOWED = {
    "source", "version", "feed", "title", "namespace", "shapes", "records", "beside", "unlike", "dated by", "needs",
    "columns", "ignores", "page",
}  # fmt: skip
_INEXACT = re.compile(r"\b(DOUBLE|FLOAT|FLOAT4|FLOAT8|REAL)\b", re.IGNORECASE)


class SourceError(Customer360Error):
    """A source, or a file for it, is not usable."""

    exit_code = 2


@dataclass(frozen=True)
class Source:
    """One source, as its file declares it."""

    name: str
    version: int
    feed: Feed
    title: str
    """What it reads, in a line."""
    namespace: str
    """The namespace of its ids, unless an installation gives another."""
    shapes: tuple[str, ...]
    """Formats that it reads: csv, json (JSON Lines, an array, or pages of an API), parquet."""
    columns: dict[str, Any]
    """The columns that the SELECT may use, each with its DuckDB type; nested ones as JSON writes them."""
    needs: tuple[str, ...]
    """Columns by which a file of this source is recognised; a file without one of them is refused."""
    select: str
    path: Path
    records: str = ""
    """In an API's page, the name of the list that holds the records."""
    beside: tuple[str, ...] = ()
    """In an API's page, names of lists that records refer to; each is a table with the column ``record``."""
    unlike: tuple[str, ...] = ()
    """Columns that show that a file belongs to another source."""
    dated_by_export: bool = False
    """Whether a record's version is the time of the export, because the records themselves carry none."""
    ignores: tuple[str, ...] = ()
    """Columns that are known and not read."""
    page: str = ""
    """The page that explains how to get the file and what is lost."""
    is_own: bool = False
    """Whether it belongs to this installation, not to the product."""
    text: str = field(default="", repr=False)

    @cached_property
    def digest(self) -> str:
        """First half of the SHA-256 of the file: tells an edited source from the one it was."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @cached_property
    def structure(self) -> str:
        """The declared columns as DuckDB's ``from_json`` takes them."""
        return json.dumps(self.columns)


def paths(settings: Settings) -> list[Path]:
    """The files of every source of this installation: the product's, and its own in their place."""
    found = {path.stem: path for folder in (SHIPPED, own_folder(settings)) for path in sorted(folder.glob("*.sql"))}
    return [found[name] for name in sorted(found)]


def own_folder(settings: Settings) -> Path:
    """Where an installation keeps its own sources."""
    return settings.home / "sources"


def catalogue(settings: Settings) -> dict[str, Source]:
    """Every source of this installation, by name; its own take the place of the product's.

    Raises:
        SourceError: a file's header is wrong.
    """
    return {path.stem: _of(settings, path) for path in paths(settings)}


def _of(settings: Settings, path: Path) -> Source:
    return _read_once(path, path.stat().st_mtime_ns, path.parent == own_folder(settings))


@cache
def _read_once(path: Path, _modified_ns: int, is_own: bool) -> Source:
    """The watcher asks for every source each second."""
    return read(path, is_own=is_own)


def source_named(settings: Settings, name: str) -> Source:
    """One source.

    Raises:
        SourceError: there is none of that name, or its file is wrong.
    """
    for path in paths(settings):
        if path.stem == name:
            return _of(settings, path)
    names = ", ".join(path.stem for path in paths(settings))
    raise SourceError(f"There is no source {name!r}.", f"Choose one of: {names}; `c360 source new` begins another.")


def folder_of(name: str, namespace: str = "") -> str:
    """The name of a source's folder in the landing zone, with the namespace where it is not the source's own."""
    return f"{name}@{namespace}" if namespace else name


def of_folder(settings: Settings, folder: str) -> tuple[Source, str]:
    """The source that a folder of the landing zone is for, and the namespace of its ids.

    Raises:
        SourceError: there is no such source, or the namespace cannot be one.
    """
    name, _, given = folder.partition("@")
    source = source_named(settings, name)
    return source, checked_namespace(given) if given else source.namespace


def checked_namespace(text: str) -> str:
    """A namespace as it is.

    Raises:
        SourceError: it is not made of lower-case letters, digits, ``-`` and ``_``, or is longer than 40 characters.
    """
    if not _NAMESPACE.fullmatch(text):
        raise SourceError(
            f"{text!r} cannot be the namespace of ids.",
            "Use up to 40 lower-case letters, digits, - and _, the first a letter: shopify-uk.",
        )
    return text


def checked_name(text: str) -> str:
    """A source's name as it is.

    Raises:
        SourceError: it is not made of lower-case letters, digits and ``_``, or is longer than 40 characters.
    """
    if not _NAME.fullmatch(text):
        raise SourceError(
            f"{text!r} cannot be the name of a source.",
            "Use up to 40 lower-case letters, digits and _, the first a letter: magento_rest.",
        )
    return text


def read(path: Path, *, is_own: bool = False) -> Source:
    """Read a source's file.

    Raises:
        SourceError: the header is missing or wrong; the message says where.
    """
    text = path.read_text(encoding="utf-8")

    def wrong(what: str) -> SourceError:
        return SourceError(f"{path.name}: {what}.", "docs/sources.md explains each line of a source's header.")

    match = _HEADER.match(text)
    if match is None:
        raise wrong("it does not begin with a header between /* and */")
    try:
        header = yaml.safe_load(match["header"])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise wrong(f"its header is not YAML{f' (line {mark.line + 1})' if mark else ''}") from error
    if not isinstance(header, dict):
        raise wrong("its header is no list of `name: value` lines")
    _insist_on_lines(header, path, wrong)
    columns = {str(name): _typed(kind, wrong) for name, kind in header["columns"].items()}
    if unlisted := [name for name in header["needs"] if name not in columns]:
        raise wrong(f"it needs {', '.join(unlisted)}, not among its columns")
    if _INEXACT.search(_without_comments(match["select"])):
        raise wrong("its SELECT names a binary floating-point type, which loses digits: use DECIMAL or text")
    return _source(header, path, text, match["select"], columns, is_own)


def _insist_on_lines(header: dict[Any, Any], path: Path, wrong: Callable[[str], SourceError]) -> None:
    """Raise unless every line of a header is known, there, and of its form."""
    if unknown := sorted(set(map(str, header)) - _ALLOWED):
        raise wrong(f"its header has unknown lines: {', '.join(unknown)}")
    missing = [key for key in ("source", "version", "feed", "title", "shapes", "columns", "needs") if key not in header]
    if missing:
        raise wrong(f"its header lacks {', '.join(missing)}")
    if header["source"] != path.stem or not _NAME.fullmatch(path.stem):
        raise wrong(f"its header names the source {header['source']!r}, its file {path.stem!r}")
    if header["feed"] not in FEEDS:
        raise wrong(f"there is no feed {header['feed']!r}; choose one of {', '.join(FEEDS)}")
    if not isinstance(header["version"], int) or header["version"] < 1:
        raise wrong("its version is no whole number from 1")
    shapes = header["shapes"]
    if not shapes or set(shapes) - set(SHAPES):
        raise wrong(f"its shapes must be some of {', '.join(SHAPES)}")
    if header.get("dated by", "record") not in {"record", "export"}:
        raise wrong("`dated by` is `record` or `export`")


def _source(
    header: dict[Any, Any], path: Path, text: str, select: str, columns: dict[str, Any], is_own: bool
) -> Source:
    return Source(
        name=path.stem,
        version=header["version"],
        feed=FEEDS[header["feed"]],
        title=str(header["title"]),
        namespace=checked_namespace(str(header.get("namespace", path.stem))),
        shapes=tuple(header["shapes"]),
        columns=columns,
        needs=tuple(header["needs"]),
        select=select.strip().rstrip(";"),
        path=path,
        records=str(header.get("records", "")),
        beside=tuple(header.get("beside", ())),
        unlike=tuple(header.get("unlike", ())),
        dated_by_export=header.get("dated by") == "export",
        ignores=tuple(map(str, header.get("ignores", ()))),
        page=str(header.get("page", "")),
        is_own=is_own,
        text=text,
    )


def _typed(kind: Any, wrong: Any) -> Any:
    """A declared type, checked: text for short, a DuckDB type, a list of one, or a mapping."""
    if isinstance(kind, str):
        if _INEXACT.search(kind):
            raise wrong(f"it declares the type {kind}, which loses digits: use text or DECIMAL(18, 4)")
        return "VARCHAR" if kind == "text" else kind
    if isinstance(kind, list) and len(kind) == 1:
        return [_typed(kind[0], wrong)]
    if isinstance(kind, dict) and kind:
        return {str(name): _typed(inner, wrong) for name, inner in kind.items()}
    raise wrong(f"it declares a column as {kind!r}; a type is text, a DuckDB type, [type] or {{name: type}}")


def _without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", sql, flags=re.DOTALL)
