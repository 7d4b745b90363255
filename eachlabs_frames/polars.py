"""The namespace ``df.eachlabs`` of a Polars DataFrame: ``import eachlabs_frames.polars`` registers it.

It calls the pandas accessor on the frame's Arrow data and gives the user's own columns back as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import polars as pl

from .accessors.dataframe import EachlabsAccessor, accessor
from .errors import ConfigurationError, EachlabsError
from .frames import arrow
from .frames.lost_attrs import prefix_of
from .frames.table import Frame
from .frames.unsupported import UnsupportedOnUse
from .suggestions import check_keywords


class EachlabsNamespace:
    """Run a workflow of the each::labs API for the rows of a Polars DataFrame.

    Available as ``df.eachlabs`` after ``import eachlabs_frames.polars``. The methods are those of the pandas accessor,
    with the same keywords. Result columns are String, Datetime("ns", "UTC") and Float64; an output that is not text is
    JSON text. A frame is never changed, so there is no ``inplace=True``. Polars frames have no attrs: `refresh`, `wait`
    and the others find the workflow by ``bulk_id`` in the journal, or are given ``workflow_id=``.

    Parameters
    ----------
    frame : polars.DataFrame

    Examples
    --------
    >>> import polars as pl, eachlabs_frames as ef, eachlabs_frames.polars
    >>> with ef.sandbox.start(queue_seconds=0, run_seconds=(0, 0)):
    ...     df = pl.DataFrame({"prompt": ["a fox", "a heron"]})
    ...     out = df.eachlabs.bulk_trigger("wf_abc123", progress=False).eachlabs.wait(progress=False)
    >>> out["status"].to_list()
    ['completed', 'completed']
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def preview(self, workflow_id: str | None = None, inputs: Any = None, **options: Any) -> pl.DataFrame:
        """Return the payload of each row, as JSON text, and any problem with it. Nothing is triggered."""
        return self._table(EachlabsAccessor.preview, workflow_id, inputs, **options)

    def bulk_trigger(self, workflow_id: str, inputs: Any = None, **options: Any) -> pl.DataFrame:
        """Trigger a paid execution of a workflow for each row, in requests of at most 10 inputs."""
        return self._result(EachlabsAccessor.bulk_trigger, workflow_id, inputs, **options)

    def retry_failed(self, inputs: Any = None, **options: Any) -> pl.DataFrame:
        """Trigger the ``failed`` rows again, as new paid executions. All other rows stay as they are."""
        return self._result(EachlabsAccessor.retry_failed, inputs, **options)

    def reconcile(self, inputs: Any = None, **options: Any) -> pl.DataFrame:
        """Search once more for the executions of ``unknown`` rows. Nothing is sent."""
        return self._result(EachlabsAccessor.reconcile, inputs, **options)

    def refresh(self, **options: Any) -> pl.DataFrame:
        """Poll every row that is not settled, once."""
        return self._result(EachlabsAccessor.refresh, **options)

    def wait(self, timeout: float | None = None, **options: Any) -> pl.DataFrame:
        """Poll until every row is settled."""
        return self._result(EachlabsAccessor.wait, timeout, **options)

    def summary(self, **options: Any) -> pl.DataFrame:
        """Count rows per bulk operation and status, and sum the costs, without a request to the API."""
        return self._table(EachlabsAccessor.summary, **options)

    def bill(self, **options: Any) -> pl.DataFrame:
        """Return what the executions have cost, by status."""
        return self._table(EachlabsAccessor.bill, **options)

    def outputs(self, **options: Any) -> pl.DataFrame:
        """Return the outputs in tidy form, with one row per output item; ``row`` is the position in this frame."""
        return self._table(EachlabsAccessor.outputs, **options)

    def download(self, folder: Any, **options: Any) -> pl.DataFrame:
        """Download every file that the outputs refer to into a folder, and return the paths: lists as JSON text."""
        self._check(EachlabsAccessor.download, options)
        out = accessor(self.to_pandas()).download(folder, **options)
        written = [out.columns[-2], out.columns[-1]]
        return self._frame.with_columns(pl.DataFrame(arrow.to_table(out[written])).get_columns())

    def to_pandas(self) -> Frame:
        """Return this frame for the methods of the pandas accessor that are not here, such as ``gallery``.

        Its columns have Arrow's types, in which integers beside missing values stay exact, and outputs are lists and
        objects again.
        """
        frame = arrow.to_pandas(self._frame)
        try:
            return arrow.outputs_from_text(frame, prefix_of(frame, None))
        except EachlabsError:
            return frame  # it has several results, or none

    def _result(self, method: Callable[..., Frame], *values: Any, **options: Any) -> pl.DataFrame:
        """Return this frame with the result columns that a method of the pandas accessor writes."""
        self._check(method, options)
        out: pl.DataFrame = arrow.call_like(self._frame, lambda frame: method(accessor(frame), *values, **options))
        return out

    def _table(self, method: Callable[..., Frame], *values: Any, **options: Any) -> pl.DataFrame:
        """Return the table that a method of the pandas accessor returns."""
        self._check(method, options)
        return pl.DataFrame(arrow.to_table(method(accessor(self.to_pandas()), *values, **options)))

    def _check(self, method: Callable[..., Frame], options: dict[str, Any]) -> None:
        if options.pop("inplace", False):
            msg = "inplace=True: a Polars DataFrame is never changed; use the frame that is returned"
            raise ConfigurationError(msg)
        check_keywords(method, options)


def _signature(name: str) -> inspect.Signature:
    """Return the signature of a method of the pandas accessor, without `inplace`."""
    of_pandas = inspect.signature(getattr(EachlabsAccessor, name))
    return of_pandas.replace(
        parameters=[parameter for parameter in of_pandas.parameters.values() if parameter.name != "inplace"],
        return_annotation="pl.DataFrame",
    )


for _name, _method in list(vars(EachlabsNamespace).items()):
    if not _name.startswith("_") and _name != "to_pandas":
        _method.__signature__ = _signature(_name)  # what an editor and a notebook show

pl.api.register_dataframe_namespace("eachlabs")(EachlabsNamespace)
pl.api.register_lazyframe_namespace("eachlabs")(UnsupportedOnUse)
pl.api.register_series_namespace("eachlabs")(UnsupportedOnUse)
