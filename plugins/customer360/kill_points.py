"""Named points at which a drill may end the process as ``kill -9`` would, or hold it as a paused machine would.

``C360_KILL_AT=load.copied`` ends the process when it first reaches that point. ``C360_PAUSE_AT`` with
``C360_PAUSE_FILE`` holds it there: the file is created when the point is reached, and the process goes on when the
file is removed. Both cost one dictionary look-up when they are not set, which is always outside a drill.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

POINTS = {
    "land.registered": "the file is in the ledger, nothing is loaded",
    "receive.written": "events are in the spool's transaction, not on disk",
    "receive.committed": "events are on disk, nobody has been told",
    "receive.cut": "a segment is cut, its file not landed",
    "receive.landed": "a segment's file has landed, the spool has not noted it",
    "load.claimed": "the batch is claimed, its file not opened",
    "load.gated": "the first chunk has passed the gate, nothing is copied",
    "load.copying": "inside the COPY of a chunk, half of it sent",
    "load.copied": "all chunks are copied, the ledger is not written",
    "load.finished": "rows and ledger are written, the transaction is open",
    "load.committed": "the transaction is committed, nobody has been told",
    "release.copied": "released rows are in raw, the quarantine is not updated",
    "release.finished": "a release is written, the transaction is open",
    "freeze.retired": "rows have left raw for the frozen tables, the transaction is open",
    "freeze.finished": "a freeze is written and journalled, the transaction is open",
    "build.claimed": "batches are claimed and their keys dirty, nothing is built",
    "build.staged": "staging is built, identity not resolved",
    "build.resolved": "identity is resolved, the models not built",
    "build.modelled": "the candidate tables are built, not judged",
    "build.checked": "the candidate tables are judged, nothing is published",
    "publish.compared": "inside the publication, before its first change",
    "publish.writing": "inside the publication, one table written",
    "publish.written": "inside the publication, everything written",
    "publish.committed": "the publication is committed, nobody has been told",
    "backup.dumped": "the database is dumped, the landed files are not copied, and the backup has no manifest",
    "backup.copied": "everything is copied, the backup has no manifest",
    "restore.begun": "the roles are made, nothing is restored",
    "restore.filled": "the database is restored, not brought to this version, and readers are shut out",
    "restore.opened": "the restored warehouse is complete, readers are shut out",
    "erase.stripped": "the texts of a person are gone from raw and quarantine, landed files are there",
    "erase.removed": "the landed files are gone, nothing is built",
    "erase.built": "the tables are built and published without the person, the key map has the keys",
    "erase.forgotten": "key map and journals have lost the person, the erasure is not finished",
    "daily.built": "the daily tables are built, not judged",
}
"""Where a drill may strike, and what is then done."""


def reach(point: str) -> None:
    """The process is at ``point``."""
    if os.environ.get("C360_KILL_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("C360_PAUSE_AT") == point:
        path = Path(os.environ["C360_PAUSE_FILE"])
        path.touch()
        while path.exists():
            time.sleep(0.02)
