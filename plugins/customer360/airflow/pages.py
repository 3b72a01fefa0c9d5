"""The pages below /customer360 of Airflow's API server, for those who are logged in to Airflow."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, RedirectResponse, Response

from customer360.airflow.on_call_page import router as on_call
from customer360.airflow.plain_page import PAGE_POLICY, page, render
from customer360.report import NothingToReportError, write_customer_page, write_report
from customer360.settings import PROJECT_ROOT, Settings, get_settings

RUNBOOKS = PROJECT_ROOT / "docs" / "runbooks"
_NAME = re.compile(r"[a-z0-9_-]{1,80}")

# Data Docs are pages of Great Expectations with its own scripts. They may run, but they may not call Airflow's API in
# the reader's name.
_DATA_DOCS_POLICY = "connect-src 'none'; form-action 'none'; object-src 'none'; base-uri 'none'"
# The report is one file with its script in it: it needs nothing from anywhere.
_REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@cache
def application() -> FastAPI:
    """The web application. Without the dependency on the user its pages would be open to everybody."""
    app = FastAPI(
        title="customer360", dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None
    )
    app.get("/data-docs/{path:path}")(data_docs)
    app.get("/runbooks/")(runbook_list)
    app.get("/runbooks/{name}")(runbook)
    app.get("/churn/{model_version}")(churn_picture)
    app.get("/report/")(report)
    app.get("/report/customer/{customer_key}")(customer_report)
    app.get("/")(index)
    app.include_router(on_call)
    return app


def index() -> Response:
    """The plugin's front page is the list of runbooks."""
    return RedirectResponse("runbooks/")


def data_docs(path: str) -> Response:
    """A file of the Data Docs site."""
    root = (get_settings().home / "data_docs").resolve()
    wanted = (root / (path or "index.html")).resolve()
    if wanted.is_dir():
        wanted = wanted / "index.html"
    if not wanted.is_relative_to(root):
        raise HTTPException(404, "There is no such page.")
    if not wanted.is_file():
        if path in {"", "index.html"}:
            return page("Data Docs", "<p>No gate has written its results yet. Land a file, and look again.</p>")
        raise HTTPException(404, "There is no such page.")
    return FileResponse(
        wanted, headers={"Content-Security-Policy": _DATA_DOCS_POLICY, "X-Content-Type-Options": "nosniff"}
    )


def churn_picture(model_version: int) -> Response:
    """The picture of a churn model's evaluation, which its fit has drawn."""
    path = get_settings().home / "churn" / f"version_{model_version}.svg"
    if not path.is_file():
        raise HTTPException(404, "There is no picture of this version.")
    headers = {"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


def report() -> Response:
    """The shop's report, drawn from what is published now."""
    return _drawn(write_report)


def customer_report(customer_key: int) -> Response:
    """The page of one customer."""
    return _drawn(lambda settings: write_customer_page(settings, customer_key))


def _drawn(write: Callable[[Settings], Path]) -> Response:
    try:
        path = write(get_settings())
    except NothingToReportError as error:
        return page("Report", f"<p>{html.escape(str(error))} {html.escape(error.next_step)}</p>")
    return FileResponse(path, headers={"Content-Security-Policy": _REPORT_POLICY, "X-Content-Type-Options": "nosniff"})


def runbook_list() -> Response:
    """Every runbook by name."""
    items = "".join(
        f'<li><a href="{html.escape(path.stem)}">{html.escape(path.stem)}</a></li>'
        for path in sorted(RUNBOOKS.glob("*.md"))
        if path.stem != "README"
    )
    return page("Runbooks", f"<h1>Runbooks</h1><ul>{items}</ul>")


def runbook(name: str) -> Response:
    """One runbook of docs/runbooks, rendered."""
    path = RUNBOOKS / f"{name}.md"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise HTTPException(404, "There is no such runbook.")
    return page(name, render(path))
