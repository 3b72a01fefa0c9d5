"""The key of the backups, and files that only its holder can read.

The format is age (age-encryption.org/v1): a stream in blocks, each of them authenticated, and the last one marked. A
wrong key, a changed byte and a file that ends early are all noticed, and the command-line tool ``age`` reads the files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyrage
from pyrage import x25519

from customer360 import object_store
from customer360.errors import ConfigurationError, Customer360Error
from customer360.settings import Settings

SUFFIX = ".age"
_NEW_KEY = "Run `c360 backup new-key FILE` and set C360_BACKUP_KEY_FILE to that file."


class SealedFileError(Customer360Error):
    """A sealed file cannot be read: another key, a changed byte, or an end that is missing."""


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes; none at the end."""


class Writable(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of them."""

    def flush(self) -> None:
        """Hand on what is kept back."""


@dataclass(frozen=True)
class Key:
    """The public key that seals, and the secret one that opens, where it is known here."""

    public: x25519.Recipient
    secret: x25519.Identity | None

    def seal(self, source: Readable, target: Writable) -> None:
        """Write all of ``source`` to ``target``, sealed."""
        pyrage.encrypt_io(source, target, [self.public])

    def open(self, source: Readable, target: Writable, *, name: str) -> None:
        """Write what a sealed file holds to ``target``.

        Raises:
            SealedFileError: it is no sealed file, is damaged, ends early, or was sealed with another key. What was
                written to ``target`` before is genuine, and not all of it.
        """
        if self.secret is None:
            raise ConfigurationError(
                "C360_BACKUP_KEY_FILE holds the public key alone, which cannot open a backup.",
                "Set it to the file with the secret key (AGE-SECRET-KEY-1…).",
            )
        try:
            pyrage.decrypt_io(source, target, [self.secret])
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                raise SealedFileError(
                    f"{name} was sealed with another key than the one in C360_BACKUP_KEY_FILE.",
                    "Set C360_BACKUP_KEY_FILE to the key that this backup was made with.",
                ) from None
            raise _damaged(name) from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise _damaged(name, is_cut="truncated" in str(error)) from None


def _damaged(name: str, *, is_cut: bool = False) -> SealedFileError:
    what = "ends before its end" if is_cut else "is damaged: it was changed or cut off after it was written"
    return SealedFileError(
        f"{name} {what}.", "Use another backup: `c360 backup list`; `c360 backup verify` says which are whole."
    )


def new_key(path: Path) -> str:
    """Write a new key to a file (mode 0600) that must not exist yet; returns its public part.

    Raises:
        ConfigurationError: there is such a file, which is never overwritten.
    """
    identity = x25519.Identity.generate()
    public = str(identity.to_public())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists and is not overwritten: backups may need that key.", "Name another file."
        ) from None
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"# The key of the backups of customer360. Public key: {public}\n{identity}\n")
    return public


def key_of(settings: Settings) -> Key:
    """The key that C360_BACKUP_KEY_FILE names.

    Raises:
        ConfigurationError: none is set, the file holds none, or it lies where it would be lost or stolen with the data.
    """
    if not settings.backup_key_file:
        raise ConfigurationError("C360_BACKUP_KEY_FILE is not set, and no backup is made without a key.", _NEW_KEY)
    path = Path(settings.backup_key_file).resolve()
    check_away(path, settings)
    if not path.is_file():
        raise ConfigurationError(
            f"C360_BACKUP_KEY_FILE names {path}, and there is no such file.",
            "Bring the key back from its copy, or set the variable to where it is: without it no backup can be read.",
        )
    lines = [line.strip() for line in path.read_text().splitlines()]
    text = next((line for line in lines if line and not line.startswith("#")), "")
    try:
        if text.startswith("AGE-SECRET-KEY-"):
            secret = x25519.Identity.from_str(text)
            return Key(secret.to_public(), secret)
        return Key(x25519.Recipient.from_str(text), None)
    except (pyrage.IdentityError, pyrage.RecipientError):
        raise ConfigurationError(
            f"{path} holds no key: a line AGE-SECRET-KEY-1… (or age1…, the public key alone) is missing.", _NEW_KEY
        ) from None


def check_away(path: Path, settings: Settings) -> None:
    """Refuse a key file that would be lost together with the data, or found together with the backups."""
    places = [(settings.home, "C360_HOME, and would be lost with it")]
    if settings.backup_url and not object_store.is_remote(settings.backup_url):
        places.append(
            (Path(settings.backup_url).resolve(), "the place of the backups, and would open them for a thief")
        )
    for folder, why in places:
        if path.is_relative_to(folder):
            raise ConfigurationError(
                f"The key of the backups, {path}, lies in {why}.",
                "Move it elsewhere, and keep a copy off this machine.",
            )


def sealed_bytes(key: Key, data: bytes) -> bytes:
    """A short text or file, sealed."""
    return bytes(pyrage.encrypt(data, [key.public]))


def opened_bytes(key: Key, data: bytes, *, name: str) -> bytes:
    """What :func:`sealed_bytes` sealed. Raises what :meth:`Key.open` does."""
    import io

    target = io.BytesIO()
    key.open(io.BytesIO(data), target, name=name)
    return target.getvalue()


class Counted:
    """A stream that says how many bytes went through, and their SHA-256."""

    def __init__(self, stream: Any, watch: Any = None) -> None:
        import hashlib

        self._stream, self._watch, self._digest = stream, watch, hashlib.sha256()
        self.bytes = 0

    def _note(self, data: bytes) -> None:
        self.bytes += len(data)
        self._digest.update(data)
        if self._watch:
            self._watch(len(data))

    def read(self, size: int = -1, /) -> bytes:
        """Read, and count."""
        data: bytes = self._stream.read(size)
        self._note(data)
        return data

    def write(self, data: bytes, /) -> int:
        """Write, and count."""
        self._stream.write(data)
        self._note(data)
        return len(data)

    def flush(self) -> None:
        """Nothing: whoever opened the stream closes it."""

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._digest.hexdigest()
