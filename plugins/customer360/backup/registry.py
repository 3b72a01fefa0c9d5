"""The registry of erased people, beside the backups and apart from them: a restore leaves out whoever is in it.

It holds keyed digests and their key, sealed as a backup is; it is exchanged after each erasure and with each backup.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from customer360.backup.place import Place
from customer360.backup.sealing import Key, key_of, opened_bytes, sealed_bytes
from customer360.front_door import erased
from customer360.settings import Settings
from customer360.warehouse import Connection

FILE = "erasures.age"


class _Sent(msgspec.Struct):
    key: str
    entries: list[tuple[str, str, datetime]]


def send(connection: Connection, settings: Settings) -> int:
    """Put the registry beside the backups, if there is a place for them; returns how many identifiers it has."""
    known = erased.registry(connection)
    if not known or not settings.backup_url or not settings.backup_key_file:
        return 0
    entries = [(kind, digest, limit) for (kind, digest), limit in sorted(known.items())]
    data = msgspec.json.encode(_Sent(erased.digest_key(settings).hex(), entries))
    Place(settings).write_beside(FILE, sealed_bytes(key_of(settings), data))
    return len(entries)


def bring(connection: Connection, settings: Settings, place: Place, key: Key) -> erased.Registry:
    """Enter what :func:`send` put there, and its key, into a restored warehouse. Raises what opening it raises."""
    sealed = place.read_beside(FILE)
    if sealed is None:
        return {}
    sent = msgspec.json.decode(opened_bytes(key, sealed, name=FILE), type=_Sent)
    erased.keep_digest_key(settings, bytes.fromhex(sent.key))
    erased.enter(connection, {(kind, digest): limit for kind, digest, limit in sent.entries})
    return erased.registry(connection)
