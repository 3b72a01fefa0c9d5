"""A folder or a bucket by its URL: where landed files and backups lie."""

from __future__ import annotations

import os
from functools import cache
from typing import Any


def is_remote(url: str) -> bool:
    """Whether a place is in an object store and not a folder of this machine."""
    return "://" in url


def open_store(url: str) -> tuple[Any, str]:
    """The fsspec file system of a place, and the place's root within it.

    Airflow's ObjectStoragePath knows the stores with an installed provider, with their connections; any other is
    fsspec's own, with credentials and endpoint from the environment (AWS_ENDPOINT_URL and the like).
    """
    if not is_remote(url):
        return _plain_store(url, "")
    from airflow.sdk import ObjectStoragePath

    root = ObjectStoragePath(url)
    try:
        system, path = root.fs, root.path
    except ValueError:
        system, path = _plain_store(url, os.environ.get("AWS_ENDPOINT_URL", ""))
    system.invalidate_cache()
    return system, path.rstrip("/")


@cache
def _plain_store(url: str, _endpoint: str) -> tuple[Any, str]:
    """Made once per address and endpoint: a session of an object store takes a tenth of a second to make."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url, skip_instance_cache=True)
    return system, path
