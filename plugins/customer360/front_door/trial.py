"""A trial of a source: what would land of a file, and how, before anything lands. Needs no warehouse."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customer360.front_door import source_files
from customer360.gates.suites import LandingGate
from customer360.settings import Settings
from customer360.sources import declaration
from customer360.sources.conversion import Conversion, convert, opened
from customer360.sources.declaration import Source
from customer360.sources.input_files import InputFile, SourceFileError, lacking, loosely

Row = dict[str, Any]
_NUMBERS = 5
"""Record numbers, and values, that are named per reason."""


@dataclass(frozen=True)
class Trial:
    """What a source would make of a file."""

    source: Source
    conversion: Conversion
    examples: list[tuple[Row, Row]]
    """The first records: as the file has them, and as they would land."""
    quarantined: int
    reasons: dict[str, Row]
    """Field and rule -> how many records the gate would quarantine for it, the first of them, some of the values."""
    unusable_fields: dict[str, dict[str, int]]
    """Optional field -> rule -> how many records would be loaded without it."""

    def as_json(self) -> Row:
        """Everything that the command prints."""
        done = self.conversion
        return {
            "source": self.source.name,
            "version": self.source.version,
            "feed": self.source.feed.name,
            "namespace": done.namespace,
            "input_records": done.input_records,
            "records": done.records,
            "continuations": done.continuations,
            "set_aside": done.asides,
            "defaults": done.defaults,
            "unknown_columns": done.unknown_columns,
            "quarantined": self.quarantined,
            "reasons": self.reasons,
            "unusable_fields": self.unusable_fields,
            "examples": [{"original": original, "record": record} for original, record in self.examples],
        }


def try_file(settings: Settings, path: Path, *, name: str = "", namespace: str = "", examples: int = 3) -> Trial:
    """Convert a file and judge the records as the landing gate would; nothing is kept.

    Args:
        name: of the source; by default the one that knows the file's columns.

    Raises:
        SourceError: no source knows the file, or the source cannot run.
        SourceFileError: the file cannot be read.
        ConversionError: the source does not account for every record.
    """
    sources = [declaration.source_named(settings, name)] if name else list(declaration.catalogue(settings).values())
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise SourceFileError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
        try:
            file, folder = stack.enter_context(source_files.prepared(settings, path.name, stream, sources))
            source = sources[0] if name else recognised(sources, file)
            given = declaration.checked_namespace(namespace) if namespace else source.namespace
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            exported_at = source_files.exported_at(path.name, changed)
            done = convert(source, file, folder, namespace=given, exported_at=exported_at)
        except SourceFileError as error:
            raise SourceFileError(f"{path.name}: {error}.", error.next_step) from error
        with opened(source, file, folder, namespace=given, exported_at=exported_at) as connection:
            numbers = [int(number) for number in done.record_numbers[:examples]]
            originals = dict(
                connection.execute(
                    "select record_number, original::varchar from originals "
                    "where list_contains(?, record_number) limit ?",
                    [numbers, len(numbers)],
                ).fetchall()
            )
        gate = LandingGate(source.feed, datetime.now(UTC))
        shown: list[tuple[Row, Row]] = []
        reasons: dict[str, Row] = {}
        unusable: dict[str, dict[str, int]] = {}
        quarantined = 0
        with source_files.opened(source.feed, done) as converted:
            for chunk in converted.chunks:
                for row in range(len(shown), min(examples, len(chunk))):
                    original = json.loads(originals[int(chunk.row_numbers[row])])
                    filled = {k: v for k, v in original.items() if v is not None} if isinstance(original, dict) else {}
                    shown.append((filled, json.loads(chunk.record(row))))
                judged = gate.check(chunk)
                quarantined += len(judged.reasons)
                for name, rules in judged.unusable.items():
                    lost = unusable.setdefault(name, {})
                    for rule, count in rules.items():
                        lost[rule] = lost.get(rule, 0) + count
                for row, why in judged.reasons.items():
                    for reason in why:
                        said = reasons.setdefault(
                            f"{reason.field}: {reason.rule}",
                            {"count": 0, "first": [], "message": reason.message, "values": []},
                        )
                        said["count"] += 1
                        if len(said["first"]) < _NUMBERS:
                            said["first"].append(int(chunk.row_numbers[row]))
                        value = json.loads(chunk.record(row)).get(reason.field)
                        if isinstance(value, str) and value not in said["values"] and len(said["values"]) < _NUMBERS:
                            said["values"].append(value)
        return Trial(source, done, shown, quarantined, reasons, unusable)


def recognised(sources: list[Source], file: InputFile) -> Source:
    """The source that knows a file: it has all the columns that the source needs, and most of those it reads.

    Raises:
        SourceError: no source does.
    """
    present = {loosely(name) for name in file.names}
    fitting = [
        source
        for source in sources
        if file.shape in source.shapes
        and not lacking(source, file.names)
        and not present & {loosely(name) for name in source.unlike}
    ]
    if not fitting:
        raise declaration.SourceError(
            f"No source knows this file: it is {file.shape} with {', '.join(file.names[:8])}, …",
            "`c360 source list` shows what there is; `c360 source new NAME --like FILE` begins one.",
        )
    return max(fitting, key=lambda source: (len(present & {loosely(name) for name in source.columns}), source.name))
