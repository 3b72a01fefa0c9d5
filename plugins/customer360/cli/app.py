"""The command line ``c360``: each group of commands lives in a module of this package and is registered here."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer
from rich.markup import escape

from customer360 import __version__
from customer360.errors import Customer360Error
from customer360.terminal import errors

app = typer.Typer(
    name="c360",
    help="customer360: from landed files to published customer tables.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)


_INTERRUPTED = 130


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        typer.echo(f"customer360 {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point. Exit codes: 0 done; 1 it failed, with the reason and the next step; 2 wrong usage; 130 Ctrl-C."""
    import psycopg

    from customer360.cli import registry

    os.umask(0o077)  # landed files, exports, logs: what a command writes is for its owner alone

    _log_in_plain_words()
    registry.register(app)
    try:
        app(standalone_mode=True)
    except Customer360Error as error:
        errors().print(f"[bold red]Error:[/] {escape(str(error))}")
        if error.next_step:
            errors().print(f"[bold]Next:[/] {escape(error.next_step)}")
        sys.exit(error.exit_code)
    except psycopg.Error as error:
        # Its first line alone: the others may quote a row.
        said = error.diag.message_primary or str(error).partition("\n")[0]
        errors().print(f"[bold red]Error:[/] The warehouse says: {escape(said)}")
        outdated = isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn)
        errors().print(
            "[bold]Next:[/] "
            + (
                "The warehouse is older than this program: run `c360 up`, which brings it up to date and loses nothing."
                if outdated
                else "Run the same command again; if it repeats, `c360 status` and `c360 runbook warehouse_away`."
            ),
        )
        sys.exit(1)
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # Typer has turned the Ctrl-C into this code, without a word
            _say_stopped()
        raise


def _say_stopped() -> None:
    errors().print("Stopped. Nothing is half done: run the same command again to go on.")


def _log_in_plain_words() -> None:
    """Our own warnings are for the person at the terminal; what libraries log is for no one there."""
    handler = logging.StreamHandler()
    handler.addFilter(logging.Filter("customer360"))
    logging.basicConfig(format="%(message)s", handlers=[handler])
