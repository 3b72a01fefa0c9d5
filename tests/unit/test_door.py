"""The door before Airflow's API server, with a real web application behind it."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from customer360.airflow import door


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()  # with /docs, /redoc and /openapi.json, as FastAPI makes them

    @app.post("/auth/token")
    def token(right: bool = False) -> str:
        if not right:
            raise HTTPException(401)
        return "a token"

    @app.get("/api/v2/version")
    def version() -> str:
        return "3"

    app.add_middleware(door.Door)
    return TestClient(app)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/", "/execution/openapi.json"])
def test_nobody_is_shown_every_endpoint(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.get("/api/v2/version").status_code == 200


def test_passwords_cannot_be_tried_out(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [client.post("/auth/token").status_code for _ in range(door.FAILURES + 5)]
    assert answers == [401] * door.FAILURES + [429] * 5
    refused = client.post("/auth/token?right=true")
    assert refused.status_code == 429, "not even the right one, or guessing would go on unseen"
    assert 0 < int(refused.headers["retry-after"]) <= door.SECONDS + 1
    assert client.get("/api/v2/version").status_code == 200
    monkeypatch.setattr(door, "SECONDS", 0.0)
    assert client.post("/auth/token?right=true").status_code == 200


def test_who_logs_in_is_not_slowed_down(client: TestClient) -> None:
    assert {client.post("/auth/token?right=true").status_code for _ in range(30)} == {200}
