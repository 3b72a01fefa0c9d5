"""A draft of a source for a file that none knows: its columns declared, those with a feed's names mapped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from customer360.contract.feeds import Feed, Field
from customer360.errors import Customer360Error
from customer360.front_door import source_files
from customer360.settings import Settings
from customer360.sources import declaration
from customer360.sources.conversion import structure_of
from customer360.sources.input_files import InputFile, SourceFileError

_MEANT = {
    "order_id": ("id", "number", "name", "orderid", "ordernumber"),
    "ticket_id": ("id", "ticketid", "number"),
    "session_id": ("id", "sessionid", "gasessionid", "domainsessionid"),
    "updated_at": ("updatedat", "modifiedat", "datemodified", "lastmodified", "updated"),
    "ordered_at": ("createdat", "created", "datecreated", "orderdate", "orderedat", "date"),
    "created_at": ("createdat", "created", "datecreated"),
    "total_amount": ("total", "totalprice", "grandtotal", "amount"),
    "tax_amount": ("tax", "taxes", "totaltax"),
    "shipping_amount": ("shipping", "shippingtotal", "shippingamount"),
    "discount_amount": ("discount", "discounttotal", "totaldiscounts", "discountamount"),
    "email": ("email", "emailaddress", "customeremail", "billingemail"),
    "phone": ("phone", "telephone", "phonenumber"),
    "customer_id": ("customerid", "userid", "requesterid"),
    "country": ("country", "countrycode", "shippingcountry"),
}
"""Names, without regard to case and signs, that vendors often give to a field; others are the reader's to map."""


def draft(settings: Settings, name: str, like: Path, feed: Feed) -> Path:
    """Write a draft source to ``<home>/sources/<name>.sql``.

    Raises:
        SourceError: there is a source of that name already, or the name cannot be one.
        SourceFileError: the file cannot be read.
    """
    declaration.checked_name(name)
    target = declaration.own_folder(settings) / f"{name}.sql"
    if target.exists() or any(path.stem == name for path in declaration.paths(settings)):
        raise declaration.SourceError(f"There is a source {name!r} already.", "Choose another name, or edit that file.")
    try:
        with (
            like.open("rb") as stream,
            source_files.prepared(settings, like.name, stream, []) as (file, folder),
        ):
            columns = structure_of(file, folder)
    except OSError as error:
        raise SourceFileError(f"{like} cannot be read: {error.strerror}.", "Check the path.") from error
    except SourceFileError as error:
        raise Customer360Error(f"{like.name}: {error}.", error.next_step) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_text(name, file, columns, feed), encoding="utf-8")
    declaration.read(target)
    return target


def _text(name: str, file: InputFile, columns: dict[str, Any], feed: Feed) -> str:
    needs = list(columns)[:3]
    declared = "\n".join(f"  {json.dumps(column)}: {_declared(kind)}" for column, kind in columns.items())
    mapped = ",\n".join(_mapped(field, columns) for field in feed.fields)
    return f"""/*
source: {name}
version: 1
feed: {feed.name}
title: {json.dumps(f"{name}: say here what this reads, and of which version")}
shapes: [{file.shape}]
# Columns that every such file has; by them `c360 source try` recognises it.
needs: [{", ".join(json.dumps(column) for column in needs)}]
# Remove what you do not use, or list it under `ignores: [...]`. Types: text, BIGINT, DECIMAL(18, 4), BOOLEAN.
columns:
{declared}
*/
-- Give every input record one row: 'record', 'continuation' or 'aside: reason'. docs/sources.md explains it.
select
    record_number,
    'record' as outcome,
{mapped}
from input
"""


def _declared(kind: Any) -> str:
    return "text" if kind == "VARCHAR" else json.dumps(kind).replace('"VARCHAR"', "text")


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _mapped(field: Field, columns: dict[str, Any]) -> str:
    names = {_plain(column): column for column in columns}
    meant = (_plain(field.name), *_MEANT.get(field.name, ()))
    column = next((names[one] for one in meant if one in names), None)
    if column is None:
        choices = f": one of {', '.join(field.choices[:8])}" if field.choices else ""
        required = " (required)" if field.required else ""
        hint = f"    -- TODO{required}{choices}\n" if choices or required else ""
        return f"{hint}    null as {field.name}"
    quoted = '"' + column.replace('"', '""') + '"'
    return f"    {quoted} as {field.name}"
