"""Defines the seam of the journal: its Protocols, and the values that pass through it.

A `Journal` is the whole store and opens runs; a `RunJournal` is one call's part in one run. Every implementation passes
`tests/test_journal_contract.py`. This module knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from ..errors import JournalError
from ..inputs.fingerprints import Fingerprints
from ..models import Json, Outcome, SettledExecution
from .records import RowState, RunState
from .upload_records import UploadJournal, UploadRecord


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What every call of a named run has in common; a call that differs is refused.

    ``inputs`` is the mapping of `inputs.mapping_spec.to_spec`, or None if it cannot be written (a function). ``key`` is
    the column that identifies rows, or None if their content does.
    """

    workflow_id: str
    version_id: str
    base_url: str
    inputs: Mapping[str, Json] | None = None
    na: str = "omit"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Consecutive rows of a frame to be registered in a run: an entry for each row.

    Attributes
    ----------
    digests, contents : sequence of bytes
        The fingerprint of its key or else of its input, which identifies it; and the fingerprint of its input.
    labels : sequence of JSON values
        Its label in the frame's index.
    payloads : sequence of bytes
        Its input as JSON.
    hints : sequence of int
        A `RowHint` each: which of several rows with the same digest the frame's row prefers.
    numbers : sequence of int
        Its number in the run if the frame knows it by its execution, else -1; empty if it knows none.
    """

    digests: Sequence[bytes]
    contents: Sequence[bytes]
    labels: Sequence[Json]
    payloads: Sequence[bytes]
    hints: Sequence[int]
    numbers: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LostRequest:
    """A trigger whose response never arrived: what was sent, and when it can have taken effect.

    Attributes
    ----------
    rows : tuple of int
        Numbers of its rows in the run, in the order in which they were sent.
    fingerprints : tuple of bytes
        Of each row's input.
    since, until : float
        Epoch seconds by this machine's clock: just before the POST, and when it can no longer take effect.
    bulk_id : str or None
        If an unusable response named it.
    clocks : tuple of float or None
        This machine's monotonic clock and its epoch seconds, read together when the response was lost in this process:
        they show whether the machine's time was set since.
    once : bool
        Whether it was searched for before, so that one more search without waiting is enough.
    """

    rows: tuple[int, ...]
    fingerprints: tuple[bytes, ...]
    since: float
    until: float
    bulk_id: str | None = None
    clocks: tuple[float, float] | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """Executions and inputs that a search for lost responses must not adopt.

    Attributes
    ----------
    executions : set of str
        Executions that a row of any run has.
    fingerprints : mapping of bytes to float
        Inputs of requests in flight, and when the first of these was sent, in epoch seconds: an execution created since
        may be theirs.
    """

    executions: Set[str]
    fingerprints: Mapping[bytes, float]


MAX_HINT_AGE: Final = 3_600.0
"""Seconds for which a cap hint is used: an account's balance, and with it the cap, may change."""


@dataclass(frozen=True, slots=True)
class CapHint:
    """What a call has learned of the cap on concurrent executions of an account: where a later call begins.

    Attributes
    ----------
    level : int
        Executions at once with which the call went on after the API refused more; with other calls of the account at
        the same time, this call's share.
    cap : int or None
        The cap that the API stated.
    at : float
        When it was learned, in epoch seconds.
    """

    level: int
    cap: int | None
    at: float

    def is_current(self, now: float) -> bool:
        """Return whether it is new enough to be used; times of other machines may be ahead."""
        return abs(now - self.at) <= MAX_HINT_AGE


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run: its spec, when it was created (epoch nanoseconds), its rows per status, and who works on it.

    ``executions`` and ``cost_usd`` include executions of rows that were triggered again, or whose key has another
    input now. All rows of a run that cannot be read count as unknown. ``workers`` is the number of sessions that are
    running in it now, one for each call; one of which nothing is known but its records does not count.
    """

    name: str
    spec: RunSpec
    created_at: int
    counts: Mapping[str, int]
    executions: int
    cost_usd: float
    workers: int = 0


InputsReader: TypeAlias = Callable[[Sequence[dict[str, Json]]], None]


@dataclass(frozen=True, slots=True)
class RunContents:
    """All rows of one run, in the order in which they were added.

    ``superseded`` and ``superseded_cost`` are of executions that no row has any more; the cost of
    ``superseded_unknown`` of them is not known. ``is_superseded`` says of each row whether a later call added another
    input under the row's label.
    """

    name: str
    spec: RunSpec
    index_names: list[str | None]
    labels: list[Json]
    inputs: list[dict[str, Json]]
    state: RunState
    keys: list[Json] | None = None
    superseded: int = 0
    superseded_cost: float = 0.0
    superseded_unknown: int = 0
    is_superseded: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class RecentRun:
    """The inputs that one run has sent lately.

    Attributes
    ----------
    name : str
    key : str or None
        The column that identifies its rows.
    at : int
        When it last sent one of them, in epoch nanoseconds.
    accepted : numpy.ndarray of uint64
        Fingerprints of inputs that have an execution.
    unanswered : numpy.ndarray of uint64
        Fingerprints of inputs without one that may have been accepted, or that a running call is about to send.
    """

    name: str
    key: str | None
    at: int
    accepted: Fingerprints
    unanswered: Fingerprints


class RunJournal(Protocol):
    """Records what one call does in one run. Rows are identified by numbers, which may be those of this call alone.

    The methods up to `register` are called in this order, before anything is sent; `close` ends the call's part.
    """

    @property
    def name(self) -> str:
        """The run's name; `enter` may change it."""
        ...

    @property
    def lifetime(self) -> float:
        """The seconds for which a session that died may still count as running; 0 if its end is known at once."""
        ...

    @property
    def state(self) -> RunState:
        """The state of each row, as far as this call has read."""
        ...

    def spec(self) -> RunSpec | None:
        """Return the run's spec, or None if there is no such run, or only its name."""
        ...

    def enter(
        self, spec: RunSpec, *, index_names: Sequence[str | None] = (None,), rename: Callable[[], str] | None = None
    ) -> None:
        """Join the run, which is created if it does not exist.

        Parameters
        ----------
        spec : RunSpec
            The spec of the run if this call creates it.
        index_names : sequence of str or None
            The names of the frame's index.
        rename : callable, optional
            If nobody asked for this run by its name: returns another name while there is a run of this one.

        Raises
        ------
        RunError
            Another call has created a run of this name meanwhile, with another spec.
        """
        ...

    def read_all(self) -> None:
        """Read the states of all rows, if `enter` has not; raise `JournalError` if they cannot be read."""
        ...

    def register(
        self,
        chunks: Iterable[RowChunk],
        *,
        assigned: Sequence[int] = (),
        keyed: bool = False,
        on_changed: Callable[[int], None] | None = None,
        add: bool = True,
    ) -> list[int]:
        """Give each row of a frame its number in the run; rows that are new to the run are written durably.

        Parameters
        ----------
        chunks : iterable of RowChunk
            The frame's rows, read once.
        assigned : sequence of int
            Numbers of rows that the frame has already, by their executions.
        keyed : bool
            Whether digests are those of keys, so that the input of one may have changed.
        on_changed : callable, optional
            Called with the place of a row whose key was sent with another input; raises if that is not intended.
        add : bool
            Whether rows that are new to the run become rows of it.

        Returns
        -------
        list of int
            A number for each row, in the frame's order; -1 for a row that is new and not added.

        Raises
        ------
        JournalError
            They could not be written; none of them is.
        Exception
            Whatever reading a chunk raises; none of them is written then, unless another call relies on it by now.
        """
        ...

    def content(self, number: int) -> bytes | None:
        """Return the fingerprint of a row's input, or None for a number that is no row's."""
        ...

    def row_state(self, number: int) -> RowState:
        """Return the state of a row, as far as this call has read."""
        ...

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        """Record durably that these rows are about to be sent; return each row's state: only a ``new`` one may be sent.

        Every POST needs a claim of its own. Atomic among all who share the journal.
        A row with a key that another call has sent with another input, since this call registered it, is ``settled``
        with an ``invalid`` outcome, which is not recorded.

        Raises
        ------
        JournalError
            It could not be recorded: nothing may be sent.
        """
        ...

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Record soon what became of claimed rows; ``pending`` releases a claim, because nothing was created."""
        ...

    async def adopt(self, outcomes: Sequence[Outcome], *, since: float) -> bool:
        """Record durably which executions a search has found, all or none; False if a row of any run has one by now.

        Executions that were created before `since` (epoch seconds) are not compared.
        """
        ...

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Record soon the current state of executions of this run."""
        ...

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Record soon that rows have other executions than in the API's responses."""
        ...

    def note_stop(self, reason: str | None) -> None:
        """Record soon why rows were not sent, for later readers of the run; None clears it."""
        ...

    async def flush(self) -> None:
        """Wait until all that was recorded is durable."""
        ...

    async def row_states(self, rows: Sequence[int]) -> Sequence[RowState]:
        """Read what other calls have recorded since, and return the states of rows that they have claimed."""
        ...

    def lost_requests(self, rows: Sequence[int], *, timeout: float) -> list[LostRequest]:
        """Return the requests of these rows that have no response; one may have taken `timeout` seconds."""
        ...

    async def claimed(self, since: float) -> Claimed:
        """Return what a search must not adopt, of all that was sent since `since` (epoch seconds), in any run."""
        ...

    def withdraw(self) -> None:
        """Remove the run if this call alone has created it, and has neither sent nor registered a row."""
        ...

    def close(self) -> JournalError | None:
        """Write what is left, and leave the run; return the error if something could not be written."""
        ...


class Journal(Protocol):
    """The store of all runs.

    Every method but `open` raises `JournalError` if the journal cannot be read, or not be written where it writes.
    """

    def exists(self) -> bool:
        """Return whether there is a journal already; reading does not need one."""
        ...

    def open(self, run: str) -> RunJournal:
        """Open a run of this name for one call, to be closed by it; `RunJournal.enter` creates the run."""
        ...

    def summaries(self) -> list[RunSummary]:
        """Return every run, the newest first."""
        ...

    def load(self, run: str, take: InputsReader | None = None) -> RunContents:
        """Return all rows of one run; `RunError` if there is no such run.

        If `take` is given, it is called with each chunk of inputs in turn, and the result has none.
        """
        ...

    def delete(self, run: str) -> int:
        """Delete a run and return how many rows it had; `RunError` if there is none, or a call is running in it."""
        ...

    def accept_loss(self) -> dict[str, int]:
        """Continue though records are lost; return, per run, the rows that count as perhaps sent from now on."""
        ...

    def spec_of(self, run: str) -> RunSpec | None:
        """Return the spec of a run, or None if there is no such run, or one without a row."""
        ...

    def runs_of_ids(self, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
        """Return the run that each of these bulk operations or executions belongs to, of those that the journal has."""
        ...

    def workflow_ids(self, base_url: str) -> list[str]:
        """Return the workflows of the newest runs on that server, each once."""
        ...

    def settled(
        self, workflow_id: str, version_id: str | None, base_url: str, *, inputs: bool
    ) -> list[SettledExecution]:
        """Return the latest completed executions of a version on that server, the newest first.

        Of every version, if `version_id` is None. `inputs` says whether their inputs are needed.
        """
        ...

    def recent_runs(self, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
        """Return the inputs that other runs with the same spec, apart from the key, have sent since `since` (epoch ns).

        The newest comes first; the run named `without` is left out.
        """
        ...

    def last_sent(self, run: str) -> float | None:
        """Return when a run last sent a row or got a response (epoch seconds); None if it never did."""
        ...

    def workers(self, run: str) -> dict[str, str]:
        """Return which worker (``host:process``) has sent each bulk operation of a run; empty if one has sent all."""
        ...

    def cap_hint(self, account: str) -> CapHint | None:
        """Return what was last learned of the account's cap, however old it is; None if there is nothing."""
        ...

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        """Record what was learned of the account's cap, in place of what was; None if that has proved wrong."""
        ...

    def file_references(self) -> dict[str, str]:
        """Return the reference of each uploaded file, of any account, by its public URL: see `inputs.file_values`."""
        ...

    def uploads(self, account: str) -> list[UploadRecord]:
        """Return all uploads of an account, the oldest first: deleted and expired ones too."""
        ...

    def open_uploads(self, account: str) -> UploadJournal:
        """Record uploads of an account; the journal is created if it does not exist."""
        ...
