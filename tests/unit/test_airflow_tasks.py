"""Which failures of a task are tried again."""

from __future__ import annotations

import psycopg
import pytest

from customer360.airflow.tasks import BatchesFailedError, may_heal
from customer360.errors import ConfigurationError, Customer360Error, WarehouseUnavailableError
from customer360.models.runner import ModelsFailedError
from customer360.publication.publish import LayoutError, PublicationWaitsError
from customer360.warehouse import WriterBusyError
from customer360.warehouse.run_log import GateBlockedError, RunFencedError


@pytest.mark.parametrize(
    "error",
    [
        WarehouseUnavailableError("it does not answer"),
        WriterBusyError("a build is at work"),
        PublicationWaitsError("a table is in use"),
        RunFencedError("taken over"),
        BatchesFailedError("1 batch"),
        psycopg.errors.DeadlockDetected(),
        OSError(28, "No space left on device"),
        ModelsFailedError("Model fct_orders failed: deadlock detected", ""),
        ModelsFailedError("Model fct_orders failed: server closed the connection unexpectedly", ""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_is_tried_again(error: Exception) -> None:
    assert may_heal(error)


@pytest.mark.parametrize(
    "error",
    [
        GateBlockedError("the candidate gate says no"),
        ModelsFailedError('Model fct_orders failed: column "connection_id" does not exist', ""),
        LayoutError("a key changed"),
        ConfigurationError("C360_HOME is wrong"),
        Customer360Error("anything else"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_heal_is_not(error: Exception) -> None:
    assert not may_heal(error)


def test_the_cause_counts_and_a_gate_that_says_no_counts_more() -> None:
    lost = psycopg.OperationalError("gone")
    wrapped = Customer360Error("a step failed")
    wrapped.__cause__ = lost
    assert may_heal(wrapped)
    blocked = GateBlockedError("no")
    blocked.__cause__ = lost
    assert not may_heal(blocked)
