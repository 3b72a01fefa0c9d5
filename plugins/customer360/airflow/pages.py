"""The pages below /customer360 of Airflow's API server, for those whom Airflow's auth manager lets see them.

The permission is "read" of the resource :data:`PAGES`, and for report and customers of :data:`CUSTOMERS`. Every role of
the simple auth manager has both; FAB and Keycloak give them to roles (docs/deployment.md).
"""

from __future__ import annotations

import hashlib
import html
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from customer360.airflow.on_call_page import router as on_call
from customer360.airflow.plain_page import PAGE_POLICY, page, render
from customer360.report import NothingToReportError, UnknownCustomerError, draw_customer_page, draw_report, edition
from customer360.settings import PROJECT_ROOT, Settings, get_settings
from customer360.templates import SELF_CONTAINED
from customer360.warehouse.side_products import aside

RUNBOOKS = PROJECT_ROOT / "docs" / "runbooks"
_USER = Depends(get_user)
PAGES = "customer360"
CUSTOMERS = "customer360 customers"
_NAME = re.compile(r"[a-z0-9_-]{1,80}")

# Data Docs and the report have scripts. They run, and may not call Airflow's API in the reader's name.
_HEADERS = {"Content-Security-Policy": SELF_CONTAINED, "X-Content-Type-Options": "nosniff"}


@cache
def application() -> FastAPI:
    """The web application. Without the dependency on the user its pages would be open to everybody."""
    of_customers = [Depends(may_read(CUSTOMERS))]
    app = FastAPI(
        title="customer360", dependencies=[Depends(may_read(PAGES))], docs_url=None, redoc_url=None, openapi_url=None
    )
    app.get("/data-docs/{path:path}")(data_docs)
    app.get("/models/")(models)
    app.get("/runbooks/")(runbook_list)
    app.get("/runbooks/{name}")(runbook)
    app.get("/churn/{model_version}")(churn_picture)
    app.get("/report/", dependencies=of_customers)(report)
    app.get("/report/customer/{customer_key}", dependencies=of_customers)(customer_report)
    app.get("/")(index)
    app.include_router(on_call)
    return app


def may_read(resource: str) -> Callable[..., None]:
    """A dependency that lets in who may read ``resource``; 401 without a log-in, 403 without the right."""

    def check(user: Any = _USER) -> None:
        from airflow.api_fastapi.app import get_auth_manager

        if not get_auth_manager().is_authorized_custom_view(method="GET", resource_name=resource, user=user):
            raise HTTPException(403, f"You may not read {resource}.")

    return check


def index() -> Response:
    """The plugin's front page is the list of runbooks."""
    return RedirectResponse("runbooks/")


def data_docs(path: str) -> Response:
    """A file of the Data Docs site."""
    wanted = _file_below(get_settings().home / "data_docs", path)
    if wanted is None:
        if path in {"", "index.html"}:
            return page("Data Docs", "<p>No gate has written its results yet. Land a file, and look again.</p>")
        raise HTTPException(404, "There is no such page.")
    return FileResponse(wanted, headers=_HEADERS)


def models() -> Response:
    """dbt's documentation of the models, as `c360 docs` has written it last."""
    from customer360.reference_pages import model_site

    wanted = _file_below(get_settings().home / "docs", model_site.FILE_NAME)
    if wanted is None:
        return page("Models and metrics", "<p>Not written yet: <code>c360 docs</code> writes it.</p>")
    policy = f"{SELF_CONTAINED}; font-src data:"
    return FileResponse(wanted, headers=_HEADERS | {"Content-Security-Policy": policy})


def _file_below(folder: Path, path: str) -> Path | None:
    """The file of that path within the folder, of a folder its index; None for whatever is none."""
    try:
        root = folder.resolve()
        wanted = (root / path).resolve()
        if wanted.is_dir():
            wanted = wanted / "index.html"
        return wanted if wanted.is_relative_to(root) and wanted.is_file() else None
    except (ValueError, OSError):  # a NUL in it, a name that is too long, a circle of links
        return None


def churn_picture(model_version: int) -> Response:
    """The picture of a churn model's evaluation, which its fit has drawn."""
    path = _file_below(get_settings().home / "churn", f"version_{model_version}.svg")
    if path is None:
        raise HTTPException(404, "There is no picture of this version.")
    headers = {"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


def report(request: Request) -> Response:
    """The shop's report: drawn once for each edition, and sent only to who does not have it yet."""
    return _drawn(request, "report", _report_of_now)


def customer_report(request: Request, customer_key: int) -> Response:
    """The page of one customer. 404 if nobody has the key."""
    return _drawn(request, f"customer {customer_key}", lambda settings: draw_customer_page(settings, customer_key)[1])


_last_report = ("", "")
_one_at_a_time = threading.Lock()


def _report_of_now(settings: Settings) -> str:
    """The report, from this process' memory where it is still the edition of now."""
    global _last_report  # one page of 5 MB, and no more
    with _one_at_a_time:
        if _last_report[0] != f"{settings.database} {edition(settings)}":
            made_of, drawn = draw_report(settings, customers_at="customer/")
            _last_report = (f"{settings.database} {made_of}", drawn)
        return _last_report[1]


def _drawn(request: Request, what: str, draw: Callable[[Settings], str]) -> Response:
    """A drawn page, or 304 for who has this edition; 503 if it cannot be drawn, which is an incident."""
    settings = get_settings()
    with aside(settings, "report"):
        try:
            tag = hashlib.sha256(f"{settings.database} {edition(settings)} {what}".encode()).hexdigest()[:32]
            headers = {**_HEADERS, "ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
            if tag in re.findall(r'"([^"]*)"', request.headers.get("if-none-match", "")):
                return Response(status_code=304, headers=headers)
            return HTMLResponse(draw(settings), headers=headers)
        except NothingToReportError as error:
            status = 404 if isinstance(error, UnknownCustomerError) else 200
            return page("Report", f"<p>{html.escape(str(error))} {html.escape(error.next_step)}</p>", status)
    return page(
        "Report",
        "<p>The report cannot be drawn now; published tables are not affected. On-call has an incident of it: "
        '<a href="/customer360/runbooks/side_product_failed">side_product_failed</a>.</p>',
        503,
    )


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
