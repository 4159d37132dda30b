"""What `meterstream dev` shows: a table that changes at a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli.tail import line_of
from app.local.resolve import Progress

_PRICED_SHOWN: Final = 14
_REJECTED_SHOWN: Final = 5
_LINES_EVERY_S: Final = 1.0
_SUMMARY_EVERY_S: Final = 5.0
_REFRESH_PER_S: Final = 4
_RATE_WINDOW_S: Final = 5.0
_EVERY_JARS: Final = 10


@dataclass
class Counter:
    """How many in all, and how many a second lately."""

    total: int = 0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, number: int) -> None:
        """Count some more, now."""
        self.total += number
        self._recent.append((time.monotonic(), number))

    def per_s(self) -> float:
        """Return the mean of the last seconds."""
        oldest_s = time.monotonic() - _RATE_WINDOW_S
        while self._recent and self._recent[0][0] < oldest_s:
            self._recent.popleft()
        return sum(number for _, number in self._recent) / _RATE_WINDOW_S


class Counts:
    """What went through: records sent, prices published, records rejected."""

    def __init__(self) -> None:
        self.sent: Final = Counter()
        self.priced: Final = Counter()
        self.rejected: Final = Counter()


class Screen(Protocol):
    """Where events are shown."""

    def say(self, sentence: str) -> None:
        """Show a sentence about what happens."""

    def show(self, priced: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
        """Show a batch of published records."""

    def tick(self) -> None:
        """Let time pass: show the throughput."""


class Lines:
    """Plain lines: each second one for what was priced and one for what was rejected; now and then the throughput."""

    def __init__(self, counts: Counts) -> None:
        self._counts: Final = counts
        self._priced: Final[list[dict[str, Any]]] = []
        self._rejected: Final[list[dict[str, Any]]] = []
        self._lines_due_s = time.monotonic()
        self._summary_due_s = time.monotonic() + _SUMMARY_EVERY_S

    def say(self, sentence: str) -> None:
        """Print it."""
        click.echo(sentence)

    def show(self, priced: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
        """Keep them until their line is due."""
        self._priced.extend(priced)
        self._rejected.extend(rejected)

    def tick(self) -> None:
        """Print how many there were and the newest of them, and the throughput, when it is time."""
        now_s = time.monotonic()
        if now_s >= self._lines_due_s and (self._priced or self._rejected):
            self._lines_due_s = now_s + _LINES_EVERY_S
            if self._priced:
                click.echo(f"priced   {len(self._priced):>5}   {line_of(self._priced[-1])}")
            if self._rejected:
                click.echo(f"rejected {len(self._rejected):>5}   {_refusal(self._rejected[-1])}")
            self._priced.clear()
            self._rejected.clear()
        if now_s >= self._summary_due_s:
            self._summary_due_s = now_s + _SUMMARY_EVERY_S
            click.echo(_throughput(self._counts))


class Dashboard:
    """The newest records and the throughput, at one place of the terminal."""

    def __init__(self, counts: Counts, live: Live, title: str) -> None:
        self._counts: Final = counts
        self._live: Final = live
        self._title: Final = title
        self._priced: Final[deque[dict[str, Any]]] = deque(maxlen=_PRICED_SHOWN)
        self._rejected: Final[deque[dict[str, Any]]] = deque(maxlen=_REJECTED_SHOWN)

    def say(self, sentence: str) -> None:
        """Print it above."""
        self._live.console.print(Text(sentence))

    def show(self, priced: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
        """Keep the newest."""
        self._priced.extend(priced)
        self._rejected.extend(rejected)

    def tick(self) -> None:
        """Draw."""
        table = Table(box=None, expand=True, header_style="bold")
        for name in ("interval", "meter", "direction", "energy", "cost", "tariff", "revision"):
            table.add_column(name, justify="right" if name in {"energy", "cost", "revision"} else "left", no_wrap=True)
        for record in self._priced:
            table.add_row(*_cells(record))
        refused = Group(*(Text(_refusal(record), no_wrap=True, overflow="ellipsis") for record in self._rejected))
        self._live.update(
            Group(
                Panel(table, title="Priced", title_align="left", subtitle=self._title),
                Panel(refused, title="Rejected", title_align="left", style="yellow"),
                Text(_throughput(self._counts), style="bold"),
                Text("Ctrl-C ends it; the data is kept.", style="dim"),
            )
        )


@contextmanager
def open_screen(counts: Counts, title: str) -> Iterator[Screen]:
    """Choose what suits standard output; a terminal is left as it was."""
    console = Console()
    if not console.is_terminal:
        yield Lines(counts)
        return
    with Live(console=console, refresh_per_second=_REFRESH_PER_S) as live:
        yield Dashboard(counts, live, title)


@contextmanager
def download_progress() -> Iterator[Progress]:
    """Show sentences, and a bar while jars are downloaded; where there is no terminal, a line every few jars."""
    console = Console()
    if not console.is_terminal:
        yield Progress(say=click.echo, jars=_print_jars)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with ProgressBar(*columns, console=console, transient=True) as bar:
        yield Progress(say=lambda sentence: console.print(Text(sentence)), jars=_bar_jars(bar))


def _bar_jars(bar: ProgressBar) -> Callable[[int, int, str], None]:
    """Return what moves the bar; it appears with the first jar."""

    def report(have: int, total: int, name: str) -> None:
        task = bar.task_ids[0] if bar.task_ids else bar.add_task("", total=total)
        bar.update(task, completed=have, description=name or "asking Maven")

    return report


def _print_jars(have: int, total: int, name: str) -> None:
    """Print every tenth jar and the last."""
    if name and (have % _EVERY_JARS == 0 or have == total):
        click.echo(f"  {have} of {total} jars")


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    """Return one row of the table."""
    cost = record.get("cost")
    return (
        f"{record['start_time'][11:16]}-{record['end_time'][11:16]}",
        record["location_id"] + (f"/{record['device_id']}" if record.get("device_id") else ""),
        record["tariff_direction"],
        f"{record['energy_wh'] / 1000:.4f} kWh",
        f"{float(cost):.5f} {record.get('currency')}" if cost is not None else f"({record.get('reason')})",
        record.get("tariff_id") or "",
        str(record["revision"]) + (" ✓" if record.get("complete") else ""),
    )


def _refusal(record: dict[str, Any]) -> str:
    """Write one rejected record."""
    return f"{record['error']}  {record.get('location_id') or '?'}  {record['message']}"


def _throughput(counts: Counts) -> str:
    """Write the throughput."""
    return "   ".join(
        f"{name} {counter.total:,} ({counter.per_s():.0f}/s)"
        for name, counter in (("sent", counts.sent), ("priced", counts.priced), ("rejected", counts.rejected))
    )
