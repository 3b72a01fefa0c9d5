"""The DAGs as Airflow sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))


@pytest.fixture(scope="session")
def dagbag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"))


@pytest.fixture(scope="session")
def dags(dagbag: Any) -> dict[str, Any]:
    found: dict[str, Any] = dagbag.dags
    assert found, "no DAG was found: the rules below would hold for nothing"
    return found
