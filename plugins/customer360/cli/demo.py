"""``c360 demo``: the whole way, once, to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from customer360.progress import Terminal
from customer360.settings import Settings, get_settings
from customer360.terminal import out

if TYPE_CHECKING:
    from customer360.demo import cdnow
    from customer360.demo import shop as demonstration


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("demo")(demo)


def demo(
    cdnow: Annotated[
        bool, typer.Option("--cdnow", help="The CDNOW order log, without Airflow, compared with the raw file.")
    ] = False,
) -> None:
    """Land a sample shop and let events carry it to the published tables. The stack stays up."""
    settings = get_settings()
    if cdnow:
        from customer360.demo.cdnow import run_cdnow

        with Terminal(out()) as progress:
            compared = run_cdnow(settings, progress)
        _print_cdnow(compared)
        return
    from customer360.demo import shop as demonstration

    with Terminal(out()) as progress:
        outcome = demonstration.run_demo(settings, progress)
    _print_outcome(settings, outcome)


def _print_outcome(settings: Settings, outcome: demonstration.Outcome) -> None:
    from customer360.cli.stack import print_addresses
    from customer360.stack import processes

    _print_landings(outcome)
    _print_quarantine(outcome)
    table = Table("table of marts", "rows", title="What is published", box=None)
    for name, count in outcome.tables:
        table.add_row(name, f"{count:,}")
    _print(table)
    columns, rows = outcome.customers
    preview = Table(*columns, title="marts.customer_360, the best customers", box=None)
    for row in rows:
        preview.add_row(*("" if value is None else str(value) for value in row))
    _print(preview)
    out().print(f"\n[bold]Done in {outcome.seconds:.0f} s.[/] The stack stays up; `make down` stops all of it.\n")
    print_addresses(processes.addresses(settings))
    _print_next(
        [
            ("make demo", f"lands the next batches of the sample ({outcome.batches_left} are left)")
            if outcome.batches_left
            else ("make clean", "ends the sample shop: all its batches have landed"),
            ("c360 status", "what is pending, failed, held, quarantined, stale"),
            ("c360 quarantine list", "the rows that stepped aside, and why"),
            ("c360 verify", "proves that no row was lost"),
            ("c360 churn explain KEY", "why a customer's churn score is what it is (KEY: a customer_key from above)"),
            ("c360 report", "the pictures: revenue, cohorts, concentration, churn (a page that opens offline)"),
            ("c360 land orders FILE", "your own orders, as docs/feeds.md has them (with another C360_HOME)"),
        ]
    )


def _print_landings(outcome: demonstration.Outcome) -> None:
    if not outcome.landings:
        out().print("All batches of the sample have landed before; this is what they built.\n")
        return
    table = Table("seconds", "records", "became", "file", title="From landing to publication", box=None)
    for entry in outcome.landings:
        seconds = "" if entry.seconds is None else f"{entry.seconds:.1f}"
        table.add_row(seconds, f"{entry.rows:,}" if entry.rows else "", entry.state, entry.file_name)
    _print(table)


def _print_quarantine(outcome: demonstration.Outcome) -> None:
    if outcome.quarantine:
        table = Table("feed", "field", "rule", "rows", title="Rows in quarantine, by reason", box=None)
        for feed, field, rule, count in outcome.quarantine:
            table.add_row(feed, field, rule, f"{count:,}")
        _print(table)
    if outcome.refused:
        table = Table("file", "why", title="Files refused whole", box=None)
        for name, why in outcome.refused:
            table.add_row(name, why)
        _print(table)


def _print_cdnow(outcome: cdnow.Outcome) -> None:
    table = Table("", "raw file", "published", title="CDNOW", box=None)
    for name in ("orders", "amount", "customer_count"):
        table.add_row(
            name.replace("_", " "), f"{getattr(outcome.raw, name):,}", f"{getattr(outcome.published, name):,}"
        )
    _print(table)
    best = Table("customer_key", "order_count", "net_amount", title="The best customers", box=None)
    for row in outcome.best:
        best.add_row(*map(str, row))
    _print(best)
    out().print(
        f"\n[bold]Equal to the cent and to the customer[/], in {outcome.seconds:.0f} s. "
        f"The warehouse stays up; `make down` stops it."
    )
    _print_next([(f"C360_HOME={outcome.home} c360 status", "this installation's state")])


def _print_next(steps: list[tuple[str, str]]) -> None:
    out().print("\n[bold]What to try next[/]")
    for command, what in steps:
        out().print(f"  {command:<24} [dim]{what}[/]")


def _print(table: Table) -> None:
    table.title_justify = "left"
    out().print()
    out().print(table)
