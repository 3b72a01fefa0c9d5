"""A small client of Airflow's REST API, for the stack, the demo and the tests."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import httpx

from customer360.errors import Customer360Error
from customer360.stack.airflow_environment import ADMIN


class AirflowUnavailableError(Customer360Error):
    """Airflow's API server does not answer, or answers with an error."""


class AirflowApi:
    """Airflow at ``address`` as its administrator. Logs in at the first call that needs it."""

    def __init__(self, address: str, password: str, *, user: str = ADMIN, timeout: float = 30) -> None:
        self.address = address.rstrip("/")
        self._user = user
        self._password = password
        self._client = httpx.Client(base_url=self.address, timeout=timeout)
        self._token = ""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def health(self) -> dict[str, Any]:
        """State and last heartbeat of the metadata database, scheduler, triggerer and dag processor; {} if silent."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = self._client.get("/api/v2/monitor/health", timeout=5)
            if answer.status_code == httpx.codes.OK:
                return dict(answer.json())
        return {}

    def get(self, path: str, **parameters: Any) -> Any:
        """GET ``/api/v2<path>``.

        Raises:
            AirflowUnavailableError: no answer, or a status of 400 and more.
        """
        return self._call("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST a JSON body to ``/api/v2<path>``; errors as :meth:`get`."""
        return self._call("POST", path, json=body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """PATCH ``/api/v2<path>``; errors as :meth:`get`."""
        return self._call("PATCH", path, json=body)

    def token(self) -> str:
        """The bearer token of this login, which is also the value of the user interface's cookie ``_token``."""
        if not self._token:
            self._log_in()
        return self._token

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run of a DAG by hand; returns its run id."""
        body = {"logical_date": None, "conf": conf or {}}
        return str(self.post(f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float) -> str:
        """Wait until a run has ended; returns its state (success, failed).

        Raises:
            AirflowUnavailableError: it has not ended in ``seconds``.
        """
        deadline = time.monotonic() + seconds
        state = ""
        while time.monotonic() < deadline:
            state = str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
            if state in {"success", "failed"}:
                return state
            time.sleep(0.3)
        raise AirflowUnavailableError(
            f"The run {run_id} of {dag_id} is still {state} after {seconds:.0f} s.",
            f"Look at {self.address}/dags/{dag_id}/runs/{run_id}",
        )

    def _call(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._send(method, path, **request)
        except httpx.HTTPError as error:
            raise AirflowUnavailableError(
                f"Airflow at {self.address} does not answer ({type(error).__name__}).", "Run `c360 up`."
            ) from error
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise AirflowUnavailableError(
                f"Airflow refuses {method} {path}: {answer.status_code} {answer.text[:300]}",
                "Run `c360 up`, and read its api-server log.",
            )
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        if not self._token:
            self._log_in()
        for _ in range(2):
            answer = self._client.request(
                method, f"/api/v2{path}", headers={"Authorization": f"Bearer {self._token}"}, **request
            )
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                break
            self._log_in()  # a token lives for a day; a new secret ends it at once
        return answer

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json={"username": self._user, "password": self._password})
        answer.raise_for_status()
        self._token = answer.json()["access_token"]
