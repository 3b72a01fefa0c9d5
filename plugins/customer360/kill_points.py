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
    "load.claimed": "the batch is claimed, its file not opened",
    "load.gated": "the first chunk has passed the gate, nothing is copied",
    "load.copying": "inside the COPY of a chunk, half of it sent",
    "load.copied": "all chunks are copied, the ledger is not written",
    "load.finished": "rows and ledger are written, the transaction is open",
    "load.committed": "the transaction is committed, nobody has been told",
    "release.copied": "released rows are in raw, the quarantine is not updated",
    "release.finished": "a release is written, the transaction is open",
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
