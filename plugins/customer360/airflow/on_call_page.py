"""The on-call page below /customer360/on-call of Airflow's API server: what is open, and the button that fixes it.

Plain HTML from the server, for those who are logged in to Airflow. Looking needs the right to see the DAGs, acting
the right to start the build. An action asks first, needs a reason, and is a POST from this very page: it carries a
token that only this server can make for this user, and a request from another site is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from airflow.api_fastapi.core_api.security import get_user
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from customer360.errors import Customer360Error
from customer360.oncall.actions import ACTIONS, DAG_IDS, ActionError, recorded, start
from customer360.oncall.freshness import DAILY
from customer360.oncall.picture import take
from customer360.settings import PROJECT_ROOT, get_settings
from customer360.templates import render as render_template

BASE = "/customer360/on-call/"
RUNBOOKS = PROJECT_ROOT / "docs" / "runbooks"
_BODY_BYTES = 10_000

router = APIRouter(prefix="/on-call")
User = Depends(get_user)


# ---- who may do what -------------------------------------------------------------------------------------------


def may_act(user: Any) -> bool:
    """Whether Airflow lets this user start the build: then it lets them mend it, too."""
    return _is_allowed(user, "POST")


def _is_allowed(user: Any, method: Any) -> bool:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

    return get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id="build_customer_360"),
        user=user,
    )


def _insist(user: Any, method: str) -> None:
    if not _is_allowed(user, method):
        raise HTTPException(403, "Your role in Airflow does not allow this.")


def token(user: Any, day: datetime | None = None) -> str:
    """What a form of this page carries: only this server can make it, for this user and this day."""
    from airflow.configuration import conf

    when = (day or datetime.now(UTC)).date().isoformat()
    text = f"on-call {user.get_id()} {when}".encode()
    return hmac.new(conf.get("api", "secret_key").encode(), text, hashlib.sha256).hexdigest()


def _insist_on_same_origin(request: Request, given: str, user: Any) -> None:
    now = datetime.now(UTC)
    if not any(hmac.compare_digest(given, token(user, day)) for day in (now, now - timedelta(days=1))):
        raise HTTPException(403, "This form is too old or is not ours. Open the page again.")
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"} or (
        origin and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise HTTPException(403, "This request comes from another site.")


# ---- pages -----------------------------------------------------------------------------------------------------


@router.get("/")
def show(user: Any = User) -> Response:
    """What is open, stale, pending, in quarantine, and was published."""
    _insist(user, "GET")
    try:
        picture = take(get_settings())
    except Customer360Error as error:
        return _page("message", user, title="The warehouse does not answer", message=str(error), status=503)
    return _page("page", user, title="On call", picture=picture, now=datetime.now(UTC))


@router.get("/act")
def ask(request: Request, user: Any = User) -> Response:
    """Say what an action does and ask for the reason."""
    _insist(user, "POST")
    values = dict(request.query_params)
    action = ACTIONS.get(values.pop("action", ""))
    if action is None:
        raise HTTPException(404, "There is no such action.")
    try:
        words = action.command(values, "…")
    except ActionError as error:
        raise HTTPException(422, str(error)) from error
    kept = {name: values[name] for name in (*action.parameters, "incident") if name in values}
    return _page(
        "ask",
        user,
        title=f"{action.label}?",
        action=action,
        command=" ".join(["c360", *words]),
        hidden=[("action", action.name), ("token", token(user)), *kept.items()],
    )


@router.post("/act")
async def act(request: Request, user: Any = User) -> Response:
    """Start an action and show what comes of it."""
    _insist(user, "POST")
    body = await request.body()
    if len(body) > _BODY_BYTES:
        raise HTTPException(413, "That is too much.")
    values = dict(parse_qsl(body.decode(errors="replace")))
    _insist_on_same_origin(request, values.pop("token", ""), user)
    incident = values.get("incident", "")
    try:
        action_id = await run_in_threadpool(
            start,
            get_settings(),
            values.pop("action", ""),
            values,
            who=user.get_name(),
            because=values.pop("because", ""),
            incident=int(incident) if re.fullmatch(r"[0-9]{1,18}", incident) else None,
        )
    except ActionError as error:
        return _page("message", user, title="This was not done", message=f"{error} {error.next_step}", status=422)
    return RedirectResponse(f"{BASE}actions/{action_id}", status_code=303)


@router.get("/actions/{action_id}")
def result(action_id: int, user: Any = User) -> Response:
    """What came of an action."""
    _insist(user, "GET")
    row = recorded(get_settings(), action_id) if 0 < action_id < 2**63 else None
    if row is None:
        raise HTTPException(404, "There is no such action.")
    return _page("result", user, title=row["command"], row=row)


# ---- rendering -------------------------------------------------------------------------------------------------


def _page(view: str, user: Any, *, status: int = 200, **content: Any) -> Response:
    nonce = secrets.token_urlsafe(16)
    text = render_template(
        "on_call.html", view=view, nonce=nonce, user=user.get_name(), may_act=may_act(user), base=BASE, actions=ACTIONS,
        query=_query, offers=offers, runbook=_runbook, totals=_totals, daily=DAILY, **content,
    )  # fmt: skip
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    )
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return HTMLResponse(text, status_code=status, headers=headers)


def _query(name: str, values: dict[str, Any], incident: int | None) -> str:
    return urlencode({"action": name} | values | ({"incident": incident} if incident else {}))


def offers(incident: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The actions that may mend an incident, the likeliest first, each with its values."""
    evidence, kind = incident["evidence"], incident["kind"]
    by_batch = {"batch": evidence["batch_id"]} if "batch_id" in evidence else {}
    found: list[tuple[str, dict[str, Any]]] = []
    if kind in {"batch_refused", "batch_failed"}:
        found.append(("replay", by_batch))
    if kind in {"name_conflict", "id_conflict", "sessions_counted_twice", "ledger_unbalanced"}:
        found.append(("hold", by_batch))
    if kind in {"gate_failed", "run_failed", "marts_stale", "files_waiting", "feed_late", "currency_without_rate"}:
        found.append(("run", {}))
    if kind == "task_failed" and evidence.get("dag_id") in DAG_IDS:
        found.append(("trigger", {"dag": evidence["dag_id"]}))
    if kind in {"component_silent", "files_waiting", "condition_blind"} and not get_settings().airflow_url:
        found.append(("up", {}))
    if kind == "disk_nearly_full":
        found.append(("tidy", {}))
    return [*found, ("close", {"incident": incident["incident_id"]})]


def _runbook(incident: dict[str, Any]) -> Markup:
    """The runbook of an incident with its own numbers in the commands."""
    from customer360.airflow.plain_page import render

    path = RUNBOOKS / f"{incident['kind']}.md"
    if not path.is_file():
        return Markup("")
    evidence = incident["evidence"]
    text = render(path)
    for word, value in (
        ("BATCH", evidence.get("batch_id")),
        ("DAG", evidence.get("dag_id")),
        ("INCIDENT", incident["incident_id"]),
    ):
        if value is not None and re.fullmatch(r"[A-Za-z0-9_]+", str(value)):
            text = re.sub(rf"\b{word}\b", str(value), text)
    linked = re.sub(r'href="([a-z0-9_]+)"', rf'href="{BASE}../runbooks/\1"', text)
    return Markup(linked)  # noqa: S704 - our own files  # nosec B704


def _totals(tables: dict[str, Any]) -> str:
    sums = [sum(int((change or {}).get(name, 0)) for change in tables.values()) for name in _CHANGES]
    return ", ".join(f"{count:,}" for count in sums) + f" in {len(tables)} tables"


_CHANGES = ("added", "changed", "removed")
