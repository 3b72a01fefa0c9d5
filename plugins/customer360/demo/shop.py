"""The demonstration: a sample shop is landed, and events carry it to the published tables.

Nothing here has a way of its own into the warehouse: files are put into the landing zone, and the ledger is watched.
The sample is made once per installation and kept in C360_HOME/demo; each demonstration lands its next few batches.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.front_door import landing
from customer360.gates.data_docs import build_data_docs
from customer360.progress import Progress
from customer360.sample import SampleFile, SampleManifest, generate, load_manifest
from customer360.sample.manifest import FILE_NAME
from customer360.settings import Settings
from customer360.stack import processes
from customer360.warehouse.side_products import aside

CUSTOMERS = 5_000
_FRESH_DAYS = 2.0
_FRESH_BATCHES = 24
BATCHES_PER_DEMO = 4
_PREFIX = "demo-"
_SEED = 360

_HISTORY_SECONDS = 300
_BATCH_SECONDS = 120

# Beyond these the front door or the build has done with a file.
_ENDED = ("published", "refused", "duplicate", "held")


class DemoError(Customer360Error):
    """The demonstration cannot go on."""


@dataclass
class Landing:
    """A file that the demonstration landed, and what became of it."""

    feed: str
    file_name: str
    landed_at: float
    state: str = "waiting"
    rows: int = 0
    error: str = ""
    published_at: float | None = None

    @property
    def seconds(self) -> float | None:
        """From its landing to its publication."""
        return None if self.published_at is None else self.published_at - self.landed_at


@dataclass
class Outcome:
    """What the demonstration did, and what it found built."""

    landings: list[Landing] = field(default_factory=list)
    batches_left: int = 0
    tables: list[tuple[str, int]] = field(default_factory=list)
    customers: tuple[list[str], list[tuple[Any, ...]]] = field(default_factory=lambda: ([], []))
    quarantine: list[tuple[str, str, str, int]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def run_demo(settings: Settings, progress: Progress) -> Outcome:
    """Start the stack, land history (the first time) and the next fresh batches, wait for events to publish them.

    Raises:
        DemoError: the warehouse holds other data than a demonstration's, or events did not carry a file in time.
        StackError, WarehouseUnavailableError: the stack does not start.
    """
    began = time.monotonic()
    outcome = Outcome()
    sample = _InBackground(lambda: _sample(settings))
    progress.stage("start the warehouse and Airflow")
    found = processes.up(settings, progress=progress.note)
    progress.note(f"Airflow at {found.airflow}")
    progress.stage("make a sample shop")
    manifest = sample.result()
    progress.note(f"{manifest.customers:,} customers, {sum(file.rows for file in manifest.files):,} records")
    known = _known_files(settings)
    _refuse_foreign_data(settings, known)
    history = [file for file in manifest.history() if _name(file) not in known]
    if history:
        progress.stage("land a year of history: gate, load, build, publish", total=len(history))
        landings = _land(settings, manifest, history)
        _wait(settings, landings, progress, _HISTORY_SECONDS)
        outcome.landings += landings
    fresh = [number for number in manifest.batches if not all(_name(f) in known for f in manifest.fresh(number))]
    for number in fresh[:BATCHES_PER_DEMO]:
        files = manifest.fresh(number)
        progress.stage(f"land fresh batch {number}", total=len(files))
        landings = _land(settings, manifest, files)
        _wait(settings, landings, progress, _BATCH_SECONDS)
        outcome.landings += landings
        progress.note(_told(landings))
    outcome.batches_left = max(0, len(fresh) - BATCHES_PER_DEMO)
    progress.stage("churn model and daily tables, woken by the first publication")
    _wait_for_daily(settings, _HISTORY_SECONDS)
    progress.stage("data docs")
    with aside(settings, "data_docs") as attempt:
        build_data_docs(settings)
    if attempt.failure:
        progress.note(str(attempt))
    _look(settings, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _sample(settings: Settings) -> SampleManifest:
    out = settings.home / "demo" / "sample"
    if (out / FILE_NAME).exists():
        return load_manifest(out)
    if out.exists():  # a demonstration that was interrupted while it wrote
        out.rename(out.with_name(f"unfinished-{time.time_ns()}"))
    return generate(
        CUSTOMERS, 365 + round(_FRESH_DAYS), None, _SEED, out,
        faults=True, fresh_batches=_FRESH_BATCHES, fresh_days=_FRESH_DAYS, history_versions="latest",
    )  # fmt: skip


class _InBackground:
    """A function's result, worked out while something else goes on."""

    def __init__(self, work: Callable[[], SampleManifest]) -> None:
        self._result: SampleManifest | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], SampleManifest]) -> None:
        try:
            self._result = work()
        except BaseException as error:
            self._error = error

    def result(self) -> SampleManifest:
        """Wait for it; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._result is not None  # noqa: S101  (the thread set one of the two)
        return self._result


def _name(file: SampleFile) -> str:
    """The name in the landing zone as the ledger tells it: recognisable as the demonstration's."""
    name = f"{_PREFIX}{Path(file.path).name}"
    return f"{landing.HISTORY}/{name}" if file.batch == 0 else name


def _known_files(settings: Settings) -> set[str]:
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return {row[0] for row in connection.execute("select file_name from ops.batches").fetchall()}


def _refuse_foreign_data(settings: Settings, known: set[str]) -> None:
    """The sample must not be mixed with a shop's own records."""
    own = [name for name in known if not name.removeprefix(f"{landing.HISTORY}/").startswith((_PREFIX, "release-"))]
    if own:
        raise DemoError(
            f"The warehouse in {settings.home} holds {len(own)} batches of your own; the sample would mix with them.",
            "Give the demonstration a home of its own: C360_HOME=~/c360-demo make demo",
        )


def _land(settings: Settings, manifest: SampleManifest, files: list[SampleFile]) -> list[Landing]:
    landed = []
    for file in files:
        _put(settings, manifest.path(file), file.feed, _name(file))
        landed.append(Landing(file.feed, _name(file), time.time(), rows=file.rows))
    return landed


def _wait(settings: Settings, landings: list[Landing], progress: Progress, seconds: float) -> None:
    """Watch the ledger until every file is published, refused or known as a duplicate."""
    deadline = time.monotonic() + seconds
    names = [entry.file_name for entry in landings]
    done = 0
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        while True:
            found = {
                (feed, name): (state, error, published)
                for feed, name, state, error, published in connection.execute(
                    "select feed, file_name, state, error, published_at from ops.batches where file_name = any(%s)",
                    [names],
                )
            }
            for entry in landings:
                state, error, published = found.get((entry.feed, entry.file_name), ("waiting", "", None))
                entry.state, entry.error = state, error or ""
                entry.published_at = published.timestamp() if published else None
            ended = sum(entry.state in _ENDED for entry in landings)
            if ended > done:
                progress.step(_told(landings), count=ended - done)
                done = ended
            if done == len(landings):
                return
            if time.monotonic() > deadline:
                raise DemoError(
                    f"After {seconds:.0f} s the files stand at: {_told(landings)}.",
                    "Run `c360 status`: it says what is wrong and what to do.",
                )
            time.sleep(0.1)


def _wait_for_daily(settings: Settings, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _is_daily_due(settings):
        if time.monotonic() > deadline:
            raise DemoError("The daily tables have not been made.", "Run `c360 status`.")
        time.sleep(0.2)


def _is_daily_due(settings: Settings) -> bool:
    from customer360 import wake

    return wake.is_daily_due(settings)


def _told(landings: list[Landing]) -> str:
    """Files by state, and how long the slowest took: "3 published in 6.2 s, 1 duplicate"."""
    states: dict[str, int] = {}
    for entry in landings:
        states[entry.state] = states.get(entry.state, 0) + 1
    taken = [entry.seconds for entry in landings if entry.seconds is not None]
    return ", ".join(
        f"{count} {state}" + (f" in {max(taken):.1f} s" if state == "published" and taken else "")
        for state, count in sorted(states.items(), key=lambda item: -item[1])
    )


# ---- what was built -------------------------------------------------------------------------------------------

# Columns of marts.customer_360 worth a first look, as far as the table has them.
_PREVIEW = (
    "customer_key",
    "first_order_on",
    "order_count",
    "net_amount",
    "session_count",
    "ticket_count",
    "tier",
    "stage",
    "days_since_last_order",
)


def _look(settings: Settings, outcome: Outcome) -> None:
    """Fill in rows per table, a preview of customers, and what stepped aside and why."""
    with warehouse.connect("bi_reader", settings) as connection:
        names = [
            row[0]
            for row in connection.execute(
                "select table_name from information_schema.tables where table_schema = 'marts' order by 1"
            )
        ]
        for name in names:
            count = warehouse.scalar(connection, f'select count(*) from marts."{name}"')
            outcome.tables.append((name, count))
        columns = {
            row[0]
            for row in connection.execute(
                "select column_name from information_schema.columns"
                " where table_schema = 'marts' and table_name = 'customer_360'"
            )
        }
        shown = [name for name in _PREVIEW if name in columns]
        if shown:
            order = "net_amount desc nulls last" if "net_amount" in columns else "customer_key"
            rows = connection.execute(
                warehouse.query(f"select {', '.join(shown)} from marts.customer_360 order by {order} limit 8")
            ).fetchall()
            outcome.customers = (shown, rows)
    with warehouse.connect("oncall", settings) as connection:
        outcome.quarantine = [
            (feed, field_name or "", rule, count)
            for feed, field_name, rule, count in connection.execute(
                """
                select feed, reason ->> 'field', reason ->> 'rule', count(*)
                from quarantine.rows, jsonb_array_elements(reasons) as reason
                where state = 'open' group by 1, 2, 3 order by 4 desc, 1, 2, 3
                """
            )
        ]
        outcome.refused = connection.execute(
            "select file_name, error from ops.batches where state = 'refused' order by batch_id"
        ).fetchall()


def _put(settings: Settings, file: Path, feed: str, place: str) -> None:
    """Land a file as a producer would: written under another name, renamed when it is whole.

    :func:`landing.put` would refuse the sample's file of an unknown format, which is there to be refused at the door.
    """
    if landing.is_remote(settings):
        landing.put(settings, feed, file, history="/" in place, name=Path(place).name)
        return
    landing.prepare(settings)
    target = Path(settings.landing_url) / feed / place
    partial = target.with_name(f"{target.name}.part")
    shutil.copyfile(file, partial)
    partial.replace(target)
