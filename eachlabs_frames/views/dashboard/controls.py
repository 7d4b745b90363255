"""A dashboard's buttons. Owns how they look and when they can be pressed; what they do is handed in."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple, Protocol

import ipywidgets

from ...money import format_usd

INTERVALS: Final = (1.0, 2.0, 5.0, 15.0, 60.0)


class ControlActions(Protocol):
    """What the buttons do."""

    def refresh(self) -> None:
        """Look now."""

    def follow(self, on: bool) -> None:
        """Look again and again, or no longer."""

    def pace(self, interval: float) -> None:
        """Look so often."""

    def retry(self, rows: Collection[int]) -> None:
        """Trigger these rows again, where they have failed."""

    def cancel(self) -> None:
        """Stop sending."""


class RetryQuestion(NamedTuple):
    """What a retry is about: rows by position, what one of them costs, and what is to be known beside it."""

    rows: Collection[int]
    mean_cost_usd: float | None
    caution: str | None


class Controls:
    """Refresh, auto-refresh, retry, cancel and export, in one line that wraps; and the question before a retry."""

    def __init__(
        self,
        actions: ControlActions,
        *,
        failed: Callable[[], RetryQuestion],
        export: Callable[[], None],
        auto_refresh: bool,
        interval: float,
    ) -> None:
        self._actions = actions
        self._failed = failed
        self._asked: RetryQuestion | None = None
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
        self._words = ipywidgets.Label()
        self._yes = _button("", "Trigger them again (paid)", self._on(self._say_yes), button_style="danger")
        self._no = _button("Do not retry", "Trigger nothing", self._on(self._close))
        self._auto.observe(lambda change: actions.follow(change["new"]), "value")
        self._interval.observe(lambda change: actions.pace(change["new"]), "value")
        line = [self._refresh, self._auto, self._interval, self._retry, self._cancel, self._export]
        self.line = _wrapped(line)
        self.line.add_class("elf-controls")
        self.question = _wrapped([self._words, self._yes, self._no])
        self.question.layout.display = "none"
        self.question.add_class("elf-ask")

    def show(self, *, can_retry: bool, can_cancel: bool) -> None:
        """Enable what can be pressed. Nothing is sent where nothing changes."""
        self._retry.disabled = not can_retry
        self._cancel.disabled = not can_cancel
        if self._retry.disabled:
            self._close()

    def close(self) -> None:
        """Close every widget of these."""
        for box in (self.line, self.question):
            for widget in (*box.children, box):
                for part in ("style", "layout"):
                    if widget.has_trait(part):
                        getattr(widget, part).close()
                widget.close()

    def _ask(self) -> None:
        asked = self._asked = self._failed()
        count = len(asked.rows)
        rows = f"{count:,} failed row" + ("s" if count != 1 else "")
        cost = "" if asked.mean_cost_usd is None else f", about {format_usd(count * asked.mean_cost_usd)}"
        each = "a new execution, which is paid for" if count == 1 else "a new execution each, which is paid for"
        caution = f" {asked.caution}" if asked.caution else ""
        self._words.value = f"Trigger {rows} again? That is {each}{cost}.{caution}"
        self._yes.description = f"Retry {rows}"
        self.question.layout.display = ""
        self._no.focus()  # so that a screen reader says it, and Enter pays for nothing

    def _say_yes(self) -> None:
        # For the rows that were asked about, once: a double click comes twice, and others may have failed since.
        asked = self._asked
        self._close()
        if asked is not None:
            self._actions.retry(asked.rows)

    def _close(self) -> None:
        self._asked = None
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
