"""The buttons of a dashboard. Owns their appearance and when they are enabled; the actions are passed in."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple, Protocol

import ipywidgets

from ...money import format_usd

INTERVALS: Final = (1.0, 2.0, 5.0, 15.0, 60.0)


class ControlActions(Protocol):
    """The actions of the buttons."""

    def refresh(self) -> None:
        """Poll the executions once."""

    def follow(self, on: bool) -> None:
        """Start or stop polling."""

    def pace(self, interval: float) -> None:
        """Set the seconds between two polls, at least."""

    def retry(self, rows: Collection[int]) -> None:
        """Trigger the failed rows among these again."""

    def cancel(self) -> None:
        """Stop sending."""


class RetryQuestion(NamedTuple):
    """The rows that a retry would trigger, by position, the mean cost of an execution, and a warning."""

    rows: Collection[int]
    mean_cost_usd: float | None
    caution: str | None


class Controls:
    """The buttons, in one line that wraps, and the question before a retry."""

    def __init__(
        self,
        actions: ControlActions,
        *,
        question: Callable[[], RetryQuestion],
        export: Callable[[], None],
        auto_refresh: bool,
        interval: float,
    ) -> None:
        self._actions = actions
        self._ask_about = question
        self._question: RetryQuestion | None = None
        self._refresh = _button("Refresh", "Poll the executions now", self._on(actions.refresh))
        self._auto = ipywidgets.Checkbox(value=auto_refresh, description="Auto-refresh", indent=False)
        self._auto.layout.width = "auto"
        choices = sorted({*INTERVALS, interval})
        self._interval = ipywidgets.Dropdown(
            options=[(f"{seconds:g} s", seconds) for seconds in choices],
            value=interval,
            description="every",
            style={"description_width": "initial"},
            tooltip="Minimum seconds between polls",
        )
        self._interval.layout.width = "auto"
        self._retry = _button("Retry failed", "Trigger the failed rows again", self._on(self._ask))
        self._cancel = _button("Cancel", "Stop sending; accepted executions continue", self._on(actions.cancel))
        self._export = _button("Export CSV", "Save the current frame", self._on(export))
        self._prompt = ipywidgets.Label()
        self._yes = _button("", "Trigger them again (paid)", self._on(self._confirm), button_style="danger")
        self._no = _button("Do not retry", "Trigger nothing", self._on(self._close))
        self._auto.observe(lambda change: actions.follow(change["new"]), "value")
        self._interval.observe(lambda change: actions.pace(change["new"]), "value")
        line = [self._refresh, self._auto, self._interval, self._retry, self._cancel, self._export]
        self.line = _wrapped(line)
        self.line.add_class("elf-controls")
        self.question = _wrapped([self._prompt, self._yes, self._no])
        self.question.layout.display = "none"
        self.question.add_class("elf-ask")

    def show(self, *, can_retry: bool, can_cancel: bool) -> None:
        """Enable or disable the buttons. Nothing is sent if nothing changes."""
        self._retry.disabled = not can_retry
        self._cancel.disabled = not can_cancel
        if self._retry.disabled:
            self._close()

    def close(self) -> None:
        """Close all widgets."""
        for box in (self.line, self.question):
            for widget in (*box.children, box):
                for part in ("style", "layout"):
                    if widget.has_trait(part):
                        getattr(widget, part).close()
                widget.close()

    def _ask(self) -> None:
        question = self._question = self._ask_about()
        count = len(question.rows)
        rows = f"{count:,} failed row" + ("s" if count != 1 else "")
        cost = "" if question.mean_cost_usd is None else f", about {format_usd(count * question.mean_cost_usd)}"
        each = "a new execution, which is paid for" if count == 1 else "a new execution each, which is paid for"
        caution = f" {question.caution}" if question.caution else ""
        self._prompt.value = f"Trigger {rows} again? That is {each}{cost}.{caution}"
        self._yes.description = f"Retry {rows}"
        self.question.layout.display = ""
        self._no.focus()  # a screen reader reads it, and Enter does not pay

    def _confirm(self) -> None:
        # The rows of the question, once: a double click sends two messages, and other rows may have failed since.
        question = self._question
        self._close()
        if question is not None:
            self._actions.retry(question.rows)

    def _close(self) -> None:
        self._question = None
        self.question.layout.display = "none"

    def _on(self, act: Callable[[], None]) -> Callable[[Any], None]:
        return lambda _: act()


def _wrapped(children: list[Any]) -> Any:
    return ipywidgets.HBox(children, layout={"flex_flow": "row wrap", "align_items": "center", "overflow": "visible"})


def _button(text: str, tooltip: str, act: Callable[[Any], None], **more: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, tooltip=tooltip, **more)
    button.layout.width = "auto"
    button.on_click(act)
    return button
