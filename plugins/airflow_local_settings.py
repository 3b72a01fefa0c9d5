"""Airflow imports this module by name when a process starts.

The scheduler forks the workers that run the tasks. What is imported here, before the fork, is there in every task
at no cost: dbt, Great Expectations and pandas take seconds to import, more than the work of a small batch.
"""

import sys

__all__: list[str] = []

if "scheduler" in sys.argv:
    from customer360.airflow import warm

    warm.warm()
