"""The events of a request: each on one line, as it came; what no source could read is refused here and now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from customer360.receiver.hooks import Hook
from customer360.receiver.signatures import Headers, Refused
from customer360.receiver.spool import Event
from customer360.sources.input_files import lacking

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_BREAKS = re.compile(rb"[\r\n]+")  # between the values of JSON alone: inside a text they are escaped


def events_of(hook: Hook, headers: Headers, body: bytes) -> list[Event]:
    """The events of a request's body: one JSON object, or an array of them.

    An event is known by the sender's delivery id together with its content. The id alone is not enough: WooCommerce
    gives two orders of one second the same one.

    Raises:
        Refused: the body is not JSON, or an event lacks what its source or feed cannot be read without (400).
    """
    hook.scheme.check_topic(headers)
    delivery = hook.scheme.delivery_id(headers)
    return [_event(hook, document, delivery) for document in _documents(body)]


def _documents(body: bytes) -> list[bytes]:
    start = body.lstrip()[:1]
    try:
        body.decode("utf-8")
        documents = [bytes(document) for document in _LIST.decode(body)] if start == b"[" else [body.strip()]
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise Refused(400, "the body is not JSON in UTF-8") from None
    if not documents:
        raise Refused(400, "the body holds no event")
    return documents


def _fields(document: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _OBJECT.decode(document)
    except (msgspec.DecodeError, RecursionError):
        raise Refused(400, "an event is not a JSON object in UTF-8") from None


def _event(hook: Hook, document: bytes, delivery: str) -> Event:
    fields = _fields(document)
    scheme = hook.scheme
    if scheme.unwrapped and bytes(fields.get(scheme.unwrapped, b"")).startswith(b"{"):
        document = bytes(fields[scheme.unwrapped])
        fields = _fields(document)
    _insist_on_fields(hook, fields)
    if scheme.delivery_field and scheme.delivery_field in fields:
        try:
            delivery = _TEXT.decode(fields[scheme.delivery_field])
        except msgspec.DecodeError:
            raise Refused(400, f"{scheme.delivery_field} is no text") from None
    line = _BREAKS.sub(b" ", document) if b"\n" in document or b"\r" in document else document
    return Event(hook.name, line, _key(hook.name, delivery, line) if delivery else None)


def _key(hook: str, delivery: str, line: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in (hook.encode(), delivery.encode("utf-8", "surrogatepass"), line):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()[:16]


def _insist_on_fields(hook: Hook, fields: dict[str, msgspec.Raw]) -> None:
    source = hook.source
    if source is None:
        missing = [name for name in hook.feed.required if name not in fields]
    elif source.records and bytes(fields.get(source.records, b"")).startswith(b"["):
        records = _LIST.decode(fields[source.records])
        if not records:
            raise Refused(400, f"its list {source.records} is empty")
        beside = [name for name in source.beside if name in fields]
        missing = _first_lacking(lacking(source, [*_fields(record), *beside]) for record in records)
    elif all(name in fields for name in source.needs):
        missing = []
    else:
        missing = lacking(source, fields)  # which compares names without regard to case
    if missing:
        raise Refused(400, f"an event lacks {', '.join(missing)}: it is no record of {hook.name}")


def _first_lacking(found: Iterable[list[str]]) -> list[str]:
    return next((names for names in found if names), [])
