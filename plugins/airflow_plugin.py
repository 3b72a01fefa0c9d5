"""What customer360 adds to Airflow's interface: on call, Data Docs, runbooks, a link to the runbook on every task.

Every Airflow process loads this module, so it imports little; the pages are imported where the first one is asked for.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

PREFIX = "/customer360"


class RunbookLink(BaseOperatorLink):
    """The button "Runbook" of a task instance."""

    name = "Runbook"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The runbook of the task's DAG."""
        return f"{PREFIX}/runbooks/{ti_key.dag_id}"


async def pages(
    scope: dict[str, Any], receive: Callable[..., Awaitable[Any]], send: Callable[..., Awaitable[Any]]
) -> None:
    """The web application below /customer360."""
    from customer360.airflow.pages import application

    await application()(scope, receive, send)


class DoorOfTheServer:
    """The middleware, imported where a server is made: every Airflow process loads this module."""

    def __init__(self, app: Any) -> None:
        from customer360.airflow.door import Door

        self._door = Door(app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        await self._door(scope, receive, send)


class Customer360Plugin(AirflowPlugin):
    """Registers the pages and the links."""

    name = "customer360"
    fastapi_apps: ClassVar[list[Any]] = [{"app": pages, "url_prefix": PREFIX, "name": "customer360"}]
    fastapi_root_middlewares: ClassVar[list[Any]] = [{"middleware": DoorOfTheServer, "name": "customer360 door"}]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "On call",
            "href": f"{PREFIX}/on-call/",
            "destination": "nav",
            "category": "browse",
            "url_route": "customer360-on-call",
        },
        {
            "name": "Data Docs",
            "href": f"{PREFIX}/data-docs/",
            "destination": "nav",
            "category": "browse",
            "url_route": "customer360-data-docs",
        },
        {
            "name": "Report",
            "href": f"{PREFIX}/report/",
            "destination": "nav",
            "category": "browse",
            "url_route": "customer360-report",
        },
        {
            "name": "Models and metrics",
            "href": f"{PREFIX}/models/",
            "destination": "nav",
            "category": "docs",
            "url_route": "customer360-models",
        },
        {
            "name": "Runbooks",
            "href": f"{PREFIX}/runbooks/",
            "destination": "nav",
            "category": "docs",
            "url_route": "customer360-runbooks",
        },
        {
            "name": "Runbook",
            "href": f"{PREFIX}/runbooks/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "runbook",
        },
    ]
    global_operator_extra_links: ClassVar[list[Any]] = [RunbookLink()]
