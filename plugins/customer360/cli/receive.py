"""``c360 receive``: webhooks become landed files."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from customer360.cli.options import BecauseOption, JsonOption
from customer360.settings import Settings, get_settings
from customer360.terminal import out

_receive = typer.Typer(
    help="Receive webhooks (docs/webhooks.md); without a further word, until Ctrl-C.", invoke_without_command=True
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(_receive, name="receive")


@_receive.callback()
def receive(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only say which hooks are ready, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Receive webhooks until Ctrl-C. `c360 up` does it with C360_RECEIVE=yes."""
    if context.invoked_subcommand is not None:
        return
    from customer360.receiver import hooks, serve

    settings = get_settings()
    if check:
        found = hooks.find(settings)
        if json:
            ready = {name: {"feed": hook.feed.name, "secrets": len(hook.secrets)} for name, hook in found.ready.items()}
            told = {"ready": ready, "without_secret": found.without_secret, "faults": found.faults}
            typer.echo(json_module.dumps(told))
        hooks.insist_on_one(settings, found)
        if json:
            return
        serve.announce(settings, found, _say, f"http://{settings.receive_host}:PORT")
        return
    serve.serve(settings, _say)


def _say(line: str) -> None:
    out().print(escape(line), soft_wrap=True)


@_receive.command("status")
def status(json: JsonOption = False) -> None:
    """What was received, per hook: received = duplicates + landed + waiting. Exit code 1 if that does not hold."""
    from customer360.receiver import marks, spool

    settings = get_settings()
    states = spool.states(settings)
    silent = marks.silent_seconds(settings)
    if json:
        told: dict[str, Any] = {
            "address": marks.address(settings) or None,
            "silent_seconds": silent,
            "hooks": [state.as_json() for state in states],
            "refused": _refused(settings),
        }
        typer.echo(json_module.dumps(told))
    else:
        _print(settings, states, silent)
    if any(state.unexplained_events for state in states):
        raise typer.Exit(1)


def _refused(settings: Settings) -> dict[str, dict[str, int]]:
    from customer360.receiver import spool

    if not spool.exists(settings):
        return {}
    with spool.opened(settings) as own:
        return own.refused()


def _print(settings: Settings, states: list[Any], silent: float | None) -> None:
    from customer360.receiver import marks

    if states:
        table = Table(
            "hook",
            *(Column(name, justify="right") for name in ("received", "duplicates", "landed", "waiting", "files")),
        )
        for state in states:
            counts = (state.received_events, state.duplicate_events, state.landed_events, state.waiting_events)
            table.add_row(state.hook, *(f"{count:,}" for count in counts), f"{state.files:,}")
        out().print(table)
    for state in states:
        if state.oldest_waiting_seconds is not None:
            _say(f"{state.hook}: the oldest event has waited for {state.oldest_waiting_seconds:.0f} s.")
        if state.landing_error:
            _say(f"{state.hook}: its last file did not land: {state.landing_error}")
        if state.lost_events:
            _say(f"{state.hook}: {state.lost_events:,} events were written off as lost.")
        if state.unexplained_events:
            _say(f"{state.hook}: {state.unexplained_events:,} events are not accounted for.")
    for hook, statuses in _refused(settings).items():
        refused = ", ".join(f"{count:,} with {code}" for code, count in statuses.items())
        _say(f"{hook}: requests refused in the last 24 hours: {refused}.")
    if silent is None:
        _say("The receiver does not run. Next: `c360 receive`, or C360_RECEIVE=yes and `c360 up`.")
    else:
        _say(f"The receiver at {marks.address(settings)} showed that it lives {silent:.0f} s ago.")


@_receive.command("land")
def land(json: JsonOption = False) -> None:
    """Land what waits in the spool, now, whether the receiver runs or not."""
    from customer360.receiver import landing_files

    landed = landing_files.land_waiting(get_settings())
    if json:
        rows = [{"hook": one.hook, "events": one.events, "location": one.location} for one in landed]
        typer.echo(json_module.dumps(rows))
        return
    for one in landed:
        _say(f"Landed {one.events:,} events of {one.hook}: {one.location}")
    _say("Next: `c360 run`, or let the running stack pick them up." if landed else "Nothing waits.")


@_receive.command("write-off")
def write_off(
    hook: Annotated[str, typer.Argument(help="A hook whose events do not add up (c360 receive status).")],
    because: BecauseOption,
    json: JsonOption = False,
) -> None:
    """Enter events that are in no file and not in the spool as lost, on record. What is sent again lands again."""
    from customer360.receiver import spool

    with spool.opened(get_settings()) as own:
        lost = own.write_off(hook, because)
    if json:
        typer.echo(json_module.dumps({"hook": hook, "lost_events": lost}))
        return
    _say(f"{lost:,} events of {hook} are written off." if lost else f"The events of {hook} add up: nothing was lost.")


@_receive.command("health")
def health(json: JsonOption = False) -> None:
    """Exit code 0 if the receiver showed within half a minute that it lives."""
    from customer360.receiver import marks
    from customer360.receiver.serve import ReceiverError

    silent = marks.silent_seconds(get_settings())
    if silent is None or silent > marks.LIVING_SECONDS:
        raise ReceiverError(
            "The receiver does not run." if silent is None else f"The receiver has been silent for {silent:.0f} s.",
            "Start it again with `c360 up`, or in a container `docker compose restart receiver`.",
        )
    typer.echo(json_module.dumps({"silent_seconds": silent}) if json else "receiver: alive")
