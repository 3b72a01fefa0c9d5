"""The DAGs as Airflow sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from customer360.models import model_graph
from customer360.settings import get_settings

ROOT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))


@pytest.fixture(scope="session")
def dagbag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from airflow.dag_processing.dagbag import DagBag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("C360_HOME", str(tmp_path_factory.mktemp("home")))
        get_settings.cache_clear()
        model_graph.manifest(get_settings())  # `c360 up` writes it before Airflow looks at the DAGs
        yield DagBag(str(ROOT / "dags"))
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def dags(dagbag: Any) -> dict[str, Any]:
    found: dict[str, Any] = dagbag.dags
    assert found, "no DAG was found: the rules below would hold for nothing"
    return found
