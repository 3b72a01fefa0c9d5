"""Which hooks there are: one for each source that reads JSON, and for each feed, once it has a secret.

A secret is a file named after the hook in the folder of secrets (what Docker and Kubernetes mount); each line in it is
a secret, so that a new one can be added before the old one is removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from customer360.contract.feeds import FEEDS, Feed
from customer360.errors import Customer360Error
from customer360.receiver import spool
from customer360.receiver.signatures import Scheme, scheme_of
from customer360.settings import Settings
from customer360.sources import declaration

LEAST_SECRET_BYTES = 8


class HookError(Customer360Error):
    """No hook is ready to receive."""

    exit_code = 2


@dataclass(frozen=True)
class Hook:
    """Where events of one source or feed are posted to: ``/hooks/<name>``."""

    name: str
    """A feed, or a source with ``@namespace`` where its ids have another one than the source's own."""
    feed: Feed
    source: declaration.Source | None
    scheme: Scheme
    secrets: tuple[bytes, ...]


@dataclass(frozen=True)
class Hooks:
    """The hooks of an installation, and what keeps others from being some."""

    ready: dict[str, Hook]
    without_secret: list[str]
    """Sources and feeds that could be hooks."""
    faults: list[str]
    """One sentence for each secret that cannot be used. None says what a secret is."""

    def knows(self, name: str) -> bool:
        """Whether a name is that of a hook, ready or not."""
        return name in self.ready or name.partition("@")[0] in self.without_secret


def secrets_folder(settings: Settings) -> Path:
    """Where the secrets are."""
    return Path(settings.receive_hooks) if settings.receive_hooks else spool.folder(settings) / "hooks"


def find(settings: Settings) -> Hooks:
    """Read the sources and the secrets as they are now. A source that cannot be read is no hook, and is a fault."""
    possible: dict[str, declaration.Source | None] = dict.fromkeys(FEEDS)
    faults: list[str] = []
    for path in declaration.paths(settings):
        try:
            source = declaration.source_named(settings, path.stem)
        except declaration.SourceError as error:
            faults.append(str(error))
            continue
        if "json" in source.shapes:
            possible[source.name] = source
    ready: dict[str, Hook] = {}
    for file in _secret_files(settings):
        name, _, namespace = file.name.partition("@")
        if name not in possible or (namespace and possible[name] is None):
            faults.append(f"{file} is named after no source that reads JSON, and no feed.")
            continue
        try:
            if namespace:
                declaration.checked_namespace(namespace)
            lines = tuple(filter(None, (line.strip() for line in file.read_bytes().splitlines())))
        except (declaration.SourceError, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            faults.append(f"{file} cannot be used: {said}.")
            continue
        if not lines or min(map(len, lines)) < LEAST_SECRET_BYTES:
            faults.append(f"{file} holds no secret, or one of fewer than {LEAST_SECRET_BYTES} characters.")
            continue
        found = possible[name]
        ready[file.name] = Hook(file.name, found.feed if found else FEEDS[name], found, scheme_of(name), lines)
    have = {name.partition("@")[0] for name in ready}
    return Hooks(ready, sorted(name for name in possible if name not in have), faults)


def _secret_files(settings: Settings) -> Iterator[Path]:
    folder = secrets_folder(settings)
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def insist_on_one(settings: Settings, found: Hooks) -> None:
    """Return if a hook is ready.

    Raises:
        HookError: none is; the message says how to make one.
    """
    if not found.ready:
        folder = secrets_folder(settings)
        raise HookError(
            " ".join([f"No hook has a secret in {folder}.", *found.faults]),
            f"Write the vendor's secret into a file named after the source, such as {folder / 'shopify_rest'}, or a "
            f"bearer token of your own: openssl rand -hex 32 > {folder / 'orders'}; docs/webhooks.md.",
        )
