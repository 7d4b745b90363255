"""The buttons of a dashboard. Owns their appearance, when they are enabled, and the question before a retry."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import ipywidgets

from ...money import format_usd

if TYPE_CHECKING:
    from ...frames.calls import Calls

INTERVALS: Final = (1.0, 2.0, 5.0, 15.0, 60.0)


class Controls:
    """The buttons, in one line that wraps, and the question before a retry.

    Parameters
    ----------
    calls : Calls
    follow : callable
        Starts or stops polling.
    question : callable
        Returns the rows that a retry would trigger, by position, the mean cost of an execution, and a warning or None.
    export : callable
        Saves the frame.
    auto_refresh : bool
    interval : float
        Seconds between two polls, at least.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        follow: Callable[[bool], None],
        question: Callable[[], tuple[Collection[int], float | None, str | None]],
        export: Callable[[], None],
        auto_refresh: bool,
        interval: float,
    ) -> None:
        self._calls = calls
        self._read_question = question
        self._rows: Collection[int] | None = None  # of the question while it is displayed
        refresh = _button("Refresh", "Poll the executions now", calls.refresh)
        auto = ipywidgets.Checkbox(value=auto_refresh, description="Auto-refresh", indent=False)
        auto.observe(lambda change: follow(change["new"]), "value")
        choice = ipywidgets.Dropdown(
            options=[(f"{seconds:g} s", seconds) for seconds in sorted({*INTERVALS, interval})],
            value=interval,
            description="every",
            style={"description_width": "initial"},
            tooltip="Minimum seconds between polls",
        )
        choice.observe(lambda change: setattr(calls, "interval", change["new"]), "value")
        auto.layout.width = choice.layout.width = "auto"
        self._retry = _button("Retry failed", "Trigger the failed rows again", self._ask)
        self._cancel = _button("Cancel", "Stop sending; accepted executions continue", calls.cancel)
        save = _button("Export CSV", "Save the current frame", export)
        self._prompt = ipywidgets.Label()
        self._yes = _button("", "Trigger them again (paid)", self._confirm, button_style="danger")
        self._no = _button("Do not retry", "Trigger nothing", self._hide_question)
        self.line = _wrapped([refresh, auto, choice, self._retry, self._cancel, save])
        self.line.add_class("elf-controls")
        self.question = _wrapped([self._prompt, self._yes, self._no])
        self.question.layout.display = "none"
        self.question.add_class("elf-confirm")

    def show(self, *, can_retry: bool, can_cancel: bool) -> None:
        """Enable or disable the buttons. Nothing is sent if nothing changes."""
        self._retry.disabled = not can_retry
        self._cancel.disabled = not can_cancel
        if not can_retry:
            self._hide_question()

    def close(self) -> None:
        """Close all widgets."""
        for box in (self.line, self.question):
            for widget in (*box.children, box):
                for part in ("style", "layout"):
                    if widget.has_trait(part):
                        getattr(widget, part).close()
                widget.close()

    def _ask(self) -> None:
        self._rows, mean_cost, warning = self._read_question()
        count = len(self._rows)
        rows = f"{count:,} failed row" + ("s" if count != 1 else "")
        cost = "" if mean_cost is None else f", about {format_usd(count * mean_cost)}"
        each = "a new execution, which is paid for" if count == 1 else "a new execution each, which is paid for"
        self._prompt.value = f"Trigger {rows} again? That is {each}{cost}.{f' {warning}' if warning else ''}"
        self._yes.description = f"Retry {rows}"
        self.question.layout.display = ""
        self._no.focus()  # a screen reader reads it, and Enter does not pay

    def _confirm(self) -> None:
        # The rows of the question, once: a double click sends two messages, and other rows may have failed since.
        rows = self._rows
        self._hide_question()
        if rows is not None:
            self._calls.retry(rows)

    def _hide_question(self) -> None:
        self._rows = None
        self.question.layout.display = "none"


def _wrapped(children: list[Any]) -> Any:
    return ipywidgets.HBox(children, layout={"flex_flow": "row wrap", "align_items": "center", "overflow": "visible"})


def _button(text: str, tooltip: str, action: Callable[[], None], **more: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, tooltip=tooltip, **more)
    button.layout.width = "auto"
    button.on_click(lambda _: action())
    return button
