"""How long work tells who watches: a terminal, a task's log, nobody.

Every step of the pipeline that takes time accepts a ``progress`` and announces its stages to it, one at a time. A
stage is a phase such as "load"; a step is one thing within it (a batch, a model, a table). Tests pass a watcher of
their own, to end the process at a named moment.
"""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from customer360 import terminal

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Who watches. A new stage ends the one before."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins; ``total`` is how many steps it will have, where that is known."""

    def step(self, what: str = "", count: int = 1) -> None:
        """``count`` steps of the present stage are done, of which ``what`` was the last."""

    def note(self, text: str) -> None:
        """A few words about the present stage's result."""


class Silent:
    """Nobody watches."""

    def stage(self, name: str, total: int | None = None) -> None:
        pass

    def step(self, what: str = "", count: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Logged:
    """One log line as each stage ends: for a task's log."""

    def __init__(self) -> None:
        self._stage, self._note, self._steps, self._started = "", "", 0, 0.0

    def stage(self, name: str, total: int | None = None) -> None:
        self._end()
        self._stage, self._note, self._steps, self._started = name, "", 0, time.monotonic()

    def step(self, what: str = "", count: int = 1) -> None:
        self._steps += count

    def note(self, text: str) -> None:
        self._note = text

    def _end(self) -> None:
        if self._stage:
            seconds = time.monotonic() - self._started
            logger.info("%s: %.2f s%s", self._stage, seconds, f", {self._note}" if self._note else "")
        self._stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


class Terminal:
    """A table that fills while the work goes on: one line per stage with its steps, its seconds and its result."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or terminal.errors()
        self._done: list[tuple[str, str, float, bool]] = []
        self._stage, self._note, self._what = "", "", ""
        self._steps = 0
        self._total: int | None = None
        self._started = 0.0
        self._spinner = Spinner("dots")
        self._live = Live(console=self._console, refresh_per_second=8, transient=False, get_renderable=self._render)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(failed=error is not None)
        self._live.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        self._end()
        self._stage, self._note, self._what = name, "", ""
        self._steps, self._total, self._started = 0, total, time.monotonic()

    def step(self, what: str = "", count: int = 1) -> None:
        self._steps += count
        self._what = what or self._what

    def note(self, text: str) -> None:
        self._note = self._what = text  # within a stage of many steps it is the news of the present one

    def _end(self, failed: bool = False) -> None:
        if self._stage:
            self._done.append((self._stage, self._note, time.monotonic() - self._started, failed))
        self._stage = ""

    def _render(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, note, seconds, failed in self._done:
            mark = Text("✗", "red") if failed else Text("✓", "green")
            table.add_row(mark, Text(name), Text(f"{seconds:6.1f} s", "dim"), Text(note))
        if self._stage:
            seconds = time.monotonic() - self._started
            table.add_row(self._spinner, Text(self._stage, "bold"), Text(f"{seconds:6.1f} s", "dim"), self._present())
        return table

    def _present(self) -> Text:
        if self._total:
            width = 24
            filled = min(width, round(width * self._steps / self._total))
            bar = "━" * filled + "╺" * (width > filled) + "─" * max(0, width - filled - 1)
            return Text.assemble((bar, "cyan"), f" {self._steps}/{self._total} ", (self._what, "dim"))
        return Text(self._what, "dim")
