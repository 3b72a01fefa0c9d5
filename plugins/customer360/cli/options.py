"""The options that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
BecauseOption = Annotated[str, typer.Option("--because", help="Why; it goes on record.")]
ByOption = Annotated[str, typer.Option("--by", help="Who decides it; by default, who runs the command.")]
