"""The landing gate: what must be true of a row before it is loaded. One module per feed.

A row that breaks a critical expectation steps aside into quarantine, with every reason it has; a warning is reported
and the row goes on. :func:`every_field` gives what follows from the contract of the fields alone.
"""

from __future__ import annotations

from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metadata_types import FailureSeverity

from customer360.contract.feeds import COUNTRIES, CURRENCIES, Feed, Field
from customer360.contract.records import RECORD
from customer360.gates.row_rules import (
    ExpectAnyOf,
    ExpectElementValue,
    ExpectNonEmptyArray,
    ExpectNoUnknownField,
    ExpectOneOf,
    ExpectReadableValue,
    ExpectRequiredValue,
    ExpectTextWithin,
)

_KIND_NOTES = {
    "text": "A number where text was agreed has lost its leading zeros already; we do not guess them back.",
    "time": "A time without an offset could be any of 24 hours; we do not guess zones.",
    "money": "Money is kept to the ten-thousandth and never as a float; what does not fit would be rounded silently.",
    "number": "What is not a number cannot be counted with.",
    "integer": "A count is a whole number.",
    "array": "Elements are objects whose fields have types of their own.",
}
_SETS = {COUNTRIES: "an ISO 3166-1 alpha-2 country code", CURRENCIES: "an ISO 4217 currency code"}


def every_field(feed: Feed) -> list[BatchExpectation]:
    """The expectations that follow from the types, choices, lengths and requirements of a feed's fields."""
    expectations: list[BatchExpectation] = [
        ExpectReadableValue(
            column=RECORD,
            description="the record can be read",
            notes="A torn line, a ragged row or bytes that are no text must not take the rest of the file with them.",
        )
    ]
    for field in feed.fields:
        expectations += _of_field(field)
    expectations.append(
        ExpectAnyOf(
            columns=list(feed.someone),
            description="somebody is named",
            notes="A record that names nobody belongs to no customer and would vanish from every customer table.",
        )
    )
    expectations.append(
        ExpectNoUnknownField(
            severity=FailureSeverity.WARNING,
            description="every field is known",
            notes="A new field is kept in extra; somebody should know of it before they miss it in a table.",
        )
    )
    return expectations


def _of_field(field: Field) -> list[BatchExpectation]:
    name = field.name
    found: list[BatchExpectation] = [
        ExpectReadableValue(column=name, description=f"{name} is {field.kind}", notes=_KIND_NOTES[field.kind])
    ]
    if field.required:
        found.append(
            ExpectRequiredValue(
                column=name,
                description=f"{name} is there",
                notes="Every table downstream relies on it; the contract calls it required.",
            )
        )
    if field.choices:
        called = _SETS.get(field.choices, "")
        found.append(
            ExpectOneOf(
                column=name,
                choices=list(field.choices),
                called=called,
                description=f"{name} is {called or 'one of ' + ', '.join(field.choices)}",
                notes="A value outside the agreed ones would fall through every case of the models.",
            )
        )
    if field.max_length:
        found.append(
            ExpectTextWithin(
                column=name,
                limit=field.max_length,
                description=f"{name} has at most {field.max_length} characters",
                notes="It is indexed; an index entry that is too long would fail the whole batch.",
            )
        )
    if field.kind == "array":
        if name == "items":
            found.append(
                ExpectNonEmptyArray(
                    column=name,
                    description=f"{name} is left out or has elements",
                    notes="An empty array says there is nothing, null that it is not known. The two must not mix.",
                )
            )
        found += [
            ExpectElementValue(
                column=name,
                element=element.name,
                description=f"{name}[].{element.name} is there",
                notes="An element without it cannot be valued.",
            )
            for element in field.elements
            if element.required
        ]
    return found
