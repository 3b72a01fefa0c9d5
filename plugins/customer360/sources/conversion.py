"""The conversion: a source's SELECT over an export, run by DuckDB, with every input record accounted for.

DuckDB may read the prepared files and nothing else: no extension is downloaded, paths and memory are limited and the
configuration is locked before the SELECT runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from customer360.contract.feeds import FEEDS
from customer360.contract.personal_patterns import masked_text
from customer360.errors import Customer360Error
from customer360.sources.declaration import Source, SourceError
from customer360.sources.input_files import InputFile, SourceFileError, check, loosely

MEMORY_MB = 1024
"""What DuckDB may hold in memory; beyond that it writes to the conversion's own folder."""
THREADS = min(4, os.cpu_count() or 1)
ROW_GROUP_ROWS = 60_000  # what the gate takes at a time
RECORD, CONTINUATION, ASIDE = "record", "continuation", "aside"
_NAMED = 5
"""Numbers of records that an error names."""
_KEPT_ASIDE = 20
"""Numbers of set-aside records that the ledger keeps per reason: enough to look them up."""
_INEXACT = re.compile(r"\b(DOUBLE|FLOAT|U?HUGEINT)\b")  # Parquet keeps a HUGEINT as DOUBLE

MACROS = """
    create macro time_text(t) as strftime(t, '%Y-%m-%dT%H:%M:%S.%fZ');
    create macro time_of(text, format) as coalesce(time_text(try_strptime(text, format)), text);
    create macro utc_time(text) as
        case when regexp_full_match(text, '\\d{4}-\\d\\d-\\d\\d[T ]\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?')
             then replace(text, ' ', 'T') || 'Z' else text end;
    create macro instant(text) as try_cast(text as timestamptz);
    create macro amount(text) as try_cast(text as decimal(28, 8));
    create macro money(value) as cast(round(value, 4) as decimal(24, 4))::varchar;
    create macro divided(a, b) as cast(
        cast(
            (cast(a * 1000000 as hugeint) * 1000000 + cast(b * 1000000 as hugeint) // 2) // cast(b * 1000000 as hugeint)
            as decimal(24, 0)
        ) * cast('0.000001' as decimal(7, 6)) as decimal(28, 6)
    );
    create macro filled(text) as nullif(trim(text), '');
    create macro without_query(url) as regexp_replace(url, '[?#].*$', '');
    create macro query_value(url, name) as
        nullif(replace(url_decode(regexp_extract(url, '[?&]' || name || '=([^&#]*)', 1)), '+', ' '), '');
"""
"""What a SELECT may use besides DuckDB's own functions; docs/sources.md explains each."""


class ConversionError(Customer360Error):
    """A source's SELECT does not account for the records of a file. Nothing lands."""


@dataclass(frozen=True)
class Conversion:
    """What became of the records of one export."""

    source: str
    version: int
    digest: str
    namespace: str
    input_records: int
    records: int
    continuations: int
    asides: dict[str, dict[str, Any]]
    """Reason -> how many were set aside for it, and the numbers of the first of them."""
    defaults: dict[str, int]
    """What the source could not know and stated -> how many records."""
    unknown_columns: list[str]
    """Columns of the file that the source does not read."""
    exported_at: datetime
    output: Path = field(compare=False)
    """The records as Parquet, in the order of the file."""
    record_numbers: np.ndarray = field(compare=False, repr=False)
    """Of each record of the output, its number in the file."""
    output_hash: str = ""

    @property
    def set_aside(self) -> int:
        """Input records that are no record of the feed and belong to none."""
        return sum(aside["count"] for aside in self.asides.values())


def convert(
    source: Source,
    file: InputFile,
    folder: Path,
    *,
    namespace: str,
    exported_at: datetime,
    memory_mb: int = MEMORY_MB,
) -> Conversion:
    """Run a source's SELECT over a prepared file.

    The output depends on the file, the source, the namespace and ``exported_at`` alone: the same gives the same bytes.

    Raises:
        SourceFileError: the file is not one of the source's, or is damaged.
        SourceError: the SELECT cannot run.
        ConversionError: an input record is lost, given twice, or has no outcome.
    """
    check(source, file)
    output = folder / "converted.parquet"
    with opened(source, file, folder, namespace=namespace, exported_at=exported_at, memory_mb=memory_mb) as connection:
        _run(connection, source)
        types = _types(connection, source)
        tally = _account(connection, source, file.record_count)
        listed = ", ".join(_output_columns(source, types, namespace))
        connection.execute(
            f"copy (select {listed} from converted where outcome = '{RECORD}' order by record_number) "
            f"to '{output}' (format parquet, compression snappy, row_group_size {ROW_GROUP_ROWS})"
        )
        numbers = connection.execute(
            f"select record_number from converted where outcome = '{RECORD}' order by record_number"
        ).fetchnumpy()["record_number"]
        defaults = _defaults(connection, types)
    with output.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Conversion(
        source=source.name,
        version=source.version,
        digest=source.digest,
        namespace=namespace,
        input_records=file.record_count,
        records=tally.records,
        continuations=tally.continuations,
        asides=tally.asides,
        defaults=defaults,
        unknown_columns=unknown_columns(source, file),
        exported_at=exported_at,
        output=output,
        record_numbers=np.asarray(numbers, np.int64),
        output_hash=digest,
    )


def unknown_columns(source: Source, file: InputFile) -> list[str]:
    """Columns of the file that the source does not read, as they are spelt there but for personal values."""
    known = {loosely(name) for name in (*source.columns, *source.ignores, *source.beside)}
    return [masked_text(name) for name in file.names if loosely(name) not in known]


@contextmanager
def opened(
    source: Source,
    file: InputFile,
    folder: Path,
    *,
    namespace: str,
    exported_at: datetime,
    memory_mb: int = MEMORY_MB,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, locked, with the macros and views: ``read_input``, ``originals`` and the lists beside the records."""
    spill = folder / "spill"
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "memory_limit": f"{memory_mb}MB",
            "threads": str(THREADS),
            "temp_directory": str(spill),
            "preserve_insertion_order": "true",
        }
    )
    try:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set enable_progress_bar = false")
        connection.execute("set python_enable_replacements = false")
        connection.execute(f"set allowed_directories = ['{folder}/']")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        connection.execute(MACROS)
        fields = ", ".join(_literal(name) for name in source.feed.by_name)
        connection.execute(f"create macro contract_has(name) as list_contains([{fields}], name)")
        connection.execute(f"create macro namespace() as {_literal(namespace)}")
        moment = exported_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        connection.execute(f"create macro exported_at() as {_literal(moment)}")
        connection.execute(f"create view read_input as {_input(source, file)}")
        connection.execute("create view originals as select record_number, original from read_input")
        for name, path in file.beside.items():
            connection.execute(
                f'create view "{name}" as select json as record from '
                f"read_ndjson_objects('{path}', maximum_object_size = {64 << 20})"
            )
        for name in set(source.beside) - file.beside.keys():
            connection.execute(f'create view "{name}" as select null::json as record where false')
        yield connection
    finally:
        connection.close()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _input(source: Source, file: InputFile) -> str:
    """The query behind ``input``: the record's number, the declared columns by their names, the record as it came."""
    if file.shape == "csv":
        return _csv_input(source, file)
    if file.shape == "json":
        scan = f"read_ndjson_objects('{file.path}', maximum_object_size = {64 << 20})"
        lines = f"select row_number() over () as record_number, json as original from {scan}"
    else:
        scan = f"read_parquet('{file.path}', file_row_number = true)"
        lines = (
            f"select file_row_number + 1 as record_number, "
            f"to_json(columns_of) as original from (select file_row_number, "
            f"{{{', '.join(f'{_literal(n)}: {_quoted(n)}' for n in file.names)}}} as columns_of from {scan})"
        )
    fields = ", ".join(f"r[{_literal(name)}] as {_quoted(name)}" for name in source.columns)
    return (
        f"select record_number, original, {fields} from "
        f"(select record_number, original, from_json(original, {_literal(source.structure)}) as r from ({lines}))"
    )


def _type(kind: Any) -> str:
    """A declared type as DuckDB writes it."""
    if isinstance(kind, list):
        return f"{_type(kind[0])}[]"
    if isinstance(kind, dict):
        return f"struct({', '.join(f'{_quoted(name)} {_type(inner)}' for name, inner in kind.items())})"
    return str(kind)


def _csv_input(source: Source, file: InputFile) -> str:
    places = [f"c{place}" for place in range(len(file.names))]
    types = ", ".join(f"{place}: 'VARCHAR'" for place in places)
    scan = (
        f"read_csv('{file.path}', auto_detect = false, header = true, delim = {_literal(file.delimiter)}, "
        f"quote = '\"', escape = '\"', max_line_size = {16 << 20}, null_padding = false, "
        f"columns = {{{types}}})"
    )
    place_of = dict(zip(reversed([loosely(name) for name in file.names]), reversed(places), strict=True))
    fields = []
    for name, kind in source.columns.items():
        place = place_of.get(loosely(name))
        structure = json.dumps(kind)
        if isinstance(kind, str):
            fields.append(f"{f'cast({place} as {kind})' if place else f'null::{kind}'} as {_quoted(name)}")
        else:
            value = f"from_json(try_cast({place} as json), {_literal(structure)})" if place else f"null::{_type(kind)}"
            fields.append(f"{value} as {_quoted(name)}")
    original = ", ".join(
        f"{_literal(name)}: {place}" for name, place in dict(zip(file.names, places, strict=True)).items()
    )
    return (
        f"select record_number, to_json({{{original}}}) as original, {', '.join(fields)} "
        f"from (select row_number() over () as record_number, * from {scan})"
    )


def structure_of(file: InputFile, folder: Path) -> dict[str, Any]:
    """The columns that a file has, with a type for each: for the draft of a source.

    Every scalar is text, so that nothing is lost; what is an object or an array stays one.
    """
    if file.shape == "csv":
        return dict.fromkeys(file.names, "VARCHAR")
    like = Source("draft", 1, FEEDS["orders"], "", "draft", (file.shape,), {"_": "VARCHAR"}, (), "", folder)
    with opened(like, file, folder, namespace="draft", exported_at=datetime.now(UTC)) as connection:
        found = connection.execute(
            "select json_group_structure(original)::varchar from (select original from originals limit 1000)"
        ).fetchone()
    structure = json.loads(found[0]) if found and found[0] else {}
    return {name: _as_text(kind) for name, kind in structure.items()} if isinstance(structure, dict) else {}


def _as_text(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_as_text(kind[0])] if kind else "JSON"
    if isinstance(kind, dict):
        return {name: _as_text(inner) for name, inner in kind.items()} or "JSON"
    return "JSON" if kind == "JSON" else "VARCHAR"


# --- running and accounting ------------------------------------------------------------------------------------------


def _run(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Run the SELECT over the table ``input`` into the table ``converted``.

    The input is read into a table of typed columns first: a SELECT may refer to it many times, and the text of a
    record is parsed once.
    """
    try:
        connection.execute("create temp table input as select * exclude (original) from read_input")
    except duckdb.Error as error:
        raise SourceFileError(_plain(error), "Fetch the export again; `c360 source try FILE` shows more.") from error
    try:
        connection.execute(f"create temp table converted as {source.select}")
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise SourceFileError(_plain(error), "Fetch the export again; `c360 source try FILE` shows more.") from error
    except duckdb.Error as error:
        raise _wrong_select(source, error) from error


def _types(connection: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """The columns that the SELECT gave, with their types.

    Raises:
        SourceError: it does not give what it must, or a binary number.
    """
    types = {name: kind for name, kind, *_ in connection.execute("describe converted").fetchall()}
    for name in ("record_number", "outcome"):
        if name not in types:
            raise SourceError(
                f"{source.path.name}: its SELECT does not give {name}.",
                "Each input record needs its number and an outcome (docs/sources.md).",
            )
    inexact = [name for name, kind in types.items() if _INEXACT.search(kind)]
    if inexact:
        raise SourceError(
            f"{source.path.name}: {', '.join(inexact)} would be binary floating-point numbers, which lose digits.",
            "Cast to DECIMAL(18, 4), or pass the text on.",
        )
    return types


def _wrong_select(source: Source, error: duckdb.Error) -> SourceError:
    first = str(error).strip().split("\n", 1)[0]
    return SourceError(f"{source.path.name}: its SELECT cannot run: {first}", "Correct it; `c360 source try` runs it.")


def _plain(error: duckdb.Error) -> str:
    """What is wrong with the file, without the values that DuckDB quotes from it."""
    text = str(error)
    if "Malformed JSON" in text:
        found = re.search(r"in line (\d+)|in record/value (\d+)", text)
        return f"line {int(found[1] or found[2]):,} is not valid JSON" if found else "it is not valid JSON"
    line = re.search(r"Line: (\d+)", text)
    where = f"line {int(line[1]):,}" if line else "a record"
    if "unicode" in text.lower() or "utf-8" in text.lower():
        return f"{where} is not UTF-8 text"
    if "columns" in text.lower():
        return f"{where} has more or fewer cells than the header"
    return f"{where} cannot be read"


@dataclass
class _Tally:
    records: int = 0
    continuations: int = 0
    asides: dict[str, dict[str, Any]] = field(default_factory=dict)


def _account(connection: duckdb.DuckDBPyConnection, source: Source, input_records: int) -> _Tally:
    """Hold what the SELECT gave against what Python counted.

    Raises:
        ConversionError: a record is missing, given twice, or has no outcome that is known.
    """
    row = connection.execute(
        "select count(*), count(distinct record_number), coalesce(min(record_number), 0), "
        "coalesce(max(record_number), 0) from converted"
    ).fetchone()
    read = connection.execute("select count(*) from input").fetchone()
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    assert read is not None  # noqa: S101
    if read[0] != input_records:
        raise SourceFileError(
            f"DuckDB read {read[0]:,} records of it and {input_records:,} were counted: its quotes do not pair",
            "Fetch the export again.",
        )
    if row != (input_records, input_records, min(1, input_records), input_records):
        raise ConversionError(
            f"{source.path.name} accounts for {row[1]:,} of {input_records:,} records: {_differing(connection)}.",
            "Give each input record exactly one row: instead of a WHERE or an inner join, set its outcome to "
            "'aside: reason' (docs/sources.md).",
        )
    tally = _Tally()
    for outcome, count, first in connection.execute(
        f"select outcome, count(*), list_sort(min(record_number, {_KEPT_ASIDE})) from converted group by outcome "
        "order by outcome nulls first"
    ).fetchall():
        kind, _, reason = (outcome or "").partition(": ")
        if outcome == RECORD:
            tally.records = count
        elif outcome == CONTINUATION:
            tally.continuations = count
        elif kind == ASIDE and reason:
            tally.asides[reason] = {"count": count, "first": first}
        else:
            raise ConversionError(
                f"{source.path.name} gives {count:,} records the outcome {outcome!r}, first number {first[0]:,}.",
                f"An outcome is '{RECORD}', '{CONTINUATION}' or '{ASIDE}: reason'.",
            )
    return tally


def _differing(connection: duckdb.DuckDBPyConnection) -> str:
    """The records that are missing or given more than once, the first of them by number."""
    missing = connection.execute(
        "select count(*), list_sort(min(record_number, ?)) from input anti join converted using (record_number)",
        [_NAMED],
    ).fetchone()
    twice = connection.execute(
        "select count(*), list_sort(min(record_number, ?)) from (select record_number from converted "
        "group by record_number having count(*) > 1)",
        [_NAMED],
    ).fetchone()
    said = []
    for found, what in ((missing, "missing"), (twice, "given more than once")):
        if found and found[0]:
            numbers = ", ".join(f"{number:,}" for number in found[1] if number is not None)
            said.append(f"{found[0]:,} {what} (record {numbers}{', …' if found[0] > _NAMED else ''})")
    return "; ".join(said) or "some have numbers that the file does not have"


def _output_columns(source: Source, types: dict[str, str], namespace: str) -> list[str]:
    """What the gate gets of the SELECT's columns."""
    known = source.feed.by_name
    listed = []
    for name in types:
        if name in {"record_number", "outcome", "defaults"}:
            continue
        listed.append(_quoted(name))
    if "source" in known and "source" not in types:
        listed.append(f"{_literal(namespace)} as source")
    listed += [f"null::varchar as {_quoted(name)}" for name in source.feed.required if name not in types]
    return listed


def _defaults(connection: duckdb.DuckDBPyConnection, types: dict[str, str]) -> dict[str, int]:
    if "defaults" not in types:
        return {}
    return dict(
        connection.execute(
            f"select name, count(*) from (select unnest(defaults) as name from converted where outcome = '{RECORD}') "
            "where name is not null group by name order by name"
        ).fetchall()
    )
