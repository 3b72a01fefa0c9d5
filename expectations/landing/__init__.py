"""The landing gate: what must be true of a row before it is loaded. One module per feed.

A row that breaks a critical rule steps aside into quarantine, with every reason it has. A row that breaks a rule about
an optional field loses that field alone: it is loaded without it, and the value is kept as it came. Any other warning
is reported and the row goes on. :func:`every_field` gives what follows from the contract of the fields alone.
"""

from __future__ import annotations

from typing import Any

from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metadata_types import FailureSeverity

from customer360.contract.feeds import COUNTRIES, CURRENCIES, Feed, Field
from customer360.contract.records import RECORD
from customer360.gates.row_rules import (
    ExpectAnyOf,
    ExpectAtLeast,
    ExpectElementAnyOf,
    ExpectElementAtLeast,
    ExpectElementOneOf,
    ExpectElementPlausibleTime,
    ExpectElementValue,
    ExpectElementWithinSize,
    ExpectNonEmptyArray,
    ExpectNoPersonalValue,
    ExpectNoUnknownField,
    ExpectOneOf,
    ExpectPlausibleTime,
    ExpectReadableValue,
    ExpectRequiredValue,
    ExpectTextForm,
    ExpectTextWithin,
    ExpectUnmended,
    ExpectWithinSize,
)

_KIND_NOTES = {
    "text": "A truth value or an object is no text.",
    "time": "A time without an offset could be any of 24 hours; we do not guess zones.",
    "money": "Money is kept to the ten-thousandth and never as a float; what does not fit would be rounded silently.",
    "number": "What is not a number cannot be counted with.",
    "integer": "A count is a whole number.",
    "boolean": "Anything but true or false could mean either.",
    "array": "Elements are objects whose fields have types of their own.",
}
_SETS = {COUNTRIES: "an ISO 3166-1 alpha-2 country code", CURRENCIES: "an ISO 4217 currency code"}
_TIMES = "A time in 2999 would win over every later version for ever; one of 1970 is an unset clock."
_SIZES = "A larger number would not fit into the sums that the tables hold, and stop everybody else's data."
_NEGATIVES = "A negative amount or count would turn sums around unseen."


def costing(*fields: str) -> dict[str, Any]:
    """The arguments of a rule that costs a row these fields and not the row itself."""
    return {"costs": list(fields), "severity": FailureSeverity.WARNING}


def every_field(feed: Feed) -> list[BatchExpectation]:
    """The rules that follow from the types, choices, lengths, limits and requirements of a feed's fields."""
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
    if free_text_of(feed):
        expectations.append(
            ExpectNoPersonalValue(
                columns=free_text_of(feed),
                severity=FailureSeverity.WARNING,
                description="no e-mail address, phone or card number is in a text that is published",
                notes="It is masked on the way to marts; the producer should know that it writes personal data there.",
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


def free_text_of(feed: Feed) -> list[str]:
    """The fields whose text is published with personal values masked, as :class:`ExpectNoPersonalValue` names them."""
    of_record = [f"{one.name}{'?' * one.is_address}" for one in feed.fields if one.is_free_text]
    of_elements = [f"{one.name}[].{inner.name}" for one in feed.fields for inner in one.elements if inner.is_free_text]
    return of_record + of_elements


def _of_field(field: Field) -> list[BatchExpectation]:
    name = field.name
    cost = {} if field.costs_record else costing(name)
    found: list[BatchExpectation] = [
        ExpectReadableValue(column=name, description=f"{name} is {field.kind}", notes=_KIND_NOTES[field.kind], **cost)
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
                **cost,
            )
        )
    if field.form:
        found.append(
            ExpectTextForm(
                column=name,
                form=field.form,
                in_words=field.form_in_words,
                description=f"{name} is {field.form_in_words}",
                notes="It stands in front of ids in record keys, where another character would be taken for the id's.",
                **cost,
            )
        )
    if field.max_length:
        found.append(
            ExpectTextWithin(
                column=name,
                limit=field.max_length,
                description=f"{name} has at most {field.max_length} characters",
                notes="It is indexed; an index entry that is too long would fail the whole batch.",
                **cost,
            )
        )
    if field.kind == "array":
        found += _of_elements(field)
    return found + _within_limits(field, cost)


def _within_limits(field: Field, cost: dict[str, Any]) -> list[BatchExpectation]:
    name, limits = field.name, field.limits
    if limits is None:
        return []
    if field.kind == "time":
        ahead = "the landing" if limits.days_ahead == 1 else f"{limits.days_ahead} days after the landing"
        return [
            ExpectPlausibleTime(
                column=name,
                days_ahead=limits.days_ahead,
                description=f"{name} lies between 1995 and {ahead}",
                notes=_TIMES,
                **cost,
            )
        ]
    found: list[BatchExpectation] = []
    if limits.least is not None:
        found.append(
            ExpectAtLeast(
                column=name,
                minimum=str(limits.least),
                description=f"{name} is not negative" if limits.least == 0 else f"{name} is at least {limits.least}",
                notes=_NEGATIVES,
                **cost,
            )
        )
    limit = limits.most if limits.below is None else limits.below
    if limit is not None:
        is_excluded = limits.below is not None
        found.append(
            ExpectWithinSize(
                column=name,
                limit=str(limit),
                is_excluded=is_excluded,
                description=f"{name} is {'less than' if is_excluded else 'at most'} {limit:,}",
                notes=_SIZES,
                **cost,
            )
        )
    return found


def _of_elements(field: Field) -> list[BatchExpectation]:
    name = field.name
    cost = {} if field.elements_cost_record else costing(name)
    found: list[BatchExpectation] = [
        ExpectReadableValue(
            column=f"{name}[]",
            description=f"what stands in the elements of {name} has the types of its fields",
            notes="An element without its price or its number would make the rest of the array count wrongly.",
            **cost,
        )
    ]
    if field.counted:
        found.append(
            ExpectNonEmptyArray(
                column=name,
                description=f"{name} is left out or has elements",
                notes="An empty array says there is nothing, null that it is not known. The two must not mix.",
                **costing(name),
            )
        )
        found.append(_unmended(field, f"{name}[].{field.counted}", "zero", f"no element has a {field.counted} of 0"))
    if field.once_by:
        found += [
            _unmended(field, f"{name}[]", "repeated", f"no element is there twice (by its {field.once_by})"),
            _unmended(field, f"{name}[]", "conflict", f"no {field.once_by} is there with two contents"),
        ]
    for element in field.elements:
        subject = f"{name}[].{element.name}"
        if element.required:
            found.append(
                ExpectElementValue(
                    column=name,
                    element=element.name,
                    description=f"{subject} is there",
                    notes="An element without it cannot be valued.",
                    **cost,
                )
            )
        elif element.kind == "text" and not element.choices:
            found.append(_unmended(field, subject, "readable", f"{subject} is text"))
        if element.choices:
            found.append(
                ExpectElementOneOf(
                    column=name,
                    element=element.name,
                    choices=list(element.choices),
                    description=f"{subject} is one of {', '.join(element.choices)}",
                    notes="A value outside the agreed ones would fall through every case of the models.",
                    **cost,
                )
            )
        found += _element_within_limits(field, element, cost)
    if name == "contact_preferences":
        found.append(
            ExpectElementAnyOf(
                column=name,
                element="allowed",
                others=["allowed", "preferred"],
                description=f"{name}[] says allowed or preferred",
                notes="A channel alone says nothing about what the customer wants.",
                **cost,
            )
        )
    return found


def _unmended(field: Field, subject: str, rule: str, description: str) -> BatchExpectation:
    return ExpectUnmended(
        column=field.name,
        subject_of=subject,
        mended_by=rule,
        severity=FailureSeverity.WARNING,
        description=description,
        notes="It is left out, and the array is kept as it came: what it stands beside is right.",
    )


def _element_within_limits(field: Field, element: Field, cost: dict[str, Any]) -> list[BatchExpectation]:
    limits, subject = element.limits, f"{field.name}[].{element.name}"
    arguments: dict[str, Any] = {"column": field.name, "element": element.name} | cost
    if limits is None:
        return []
    if element.kind == "time":
        return [
            ExpectElementPlausibleTime(
                **arguments,
                days_ahead=limits.days_ahead,
                description=f"{subject} lies between 1995 and the landing",
                notes=_TIMES,
            )
        ]
    found: list[BatchExpectation] = []
    if limits.least is not None:
        # A count of less than nothing has no other bound; one that is too small to be counted has its own reason.
        found.append(
            ExpectElementAtLeast(
                **arguments,
                minimum=f"{limits.least:f}",
                description=f"{subject} is at least {limits.least:,f}",
                notes="What is smaller turns sums around unseen, or is rounded to nothing."
                if limits.least >= 0
                else _SIZES,
            )
        )
    limit = limits.most if limits.below is None else limits.below
    if limit is not None:
        is_excluded = limits.below is not None
        found.append(
            ExpectElementWithinSize(
                **arguments,
                limit=f"{limit:f}",
                is_excluded=is_excluded,
                description=f"{subject} is {'less than' if is_excluded else 'at most'} {limit:,f}",
                notes=_SIZES,
            )
        )
    return found
