"""What a 429's words say of a cap, and how windows and shares grow and shrink."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.aio.backoff import settle_delay
from eachlabs_frames.api.verdicts import Cap, read_cap
from eachlabs_frames.engine.concurrency import OPENING, PROBE_AFTER, RECHECK_AFTER, ExecutionQuota, RequestWindow


@pytest.mark.parametrize(
    ("words", "limit", "used"),
    [
        ("concurrency limit reached: 7 of 10 concurrent executions in use, 5 more asked for", 10, 7),
        ("10/10 concurrent executions", 10, 10),
        ("1,000 of 1,000 concurrent executions", 1000, 1000),
        ("used 10 out of 10 in-flight executions", 10, 10),
        ("7 concurrent executions of a maximum of 10", 10, 7),
        (
            "Account rate limited: accounts with a balance of $10.00 or less are limited to 10 concurrent executions. "
            "Top up to $25 to run 100 concurrent executions.",
            10,
            None,
        ),
        ("accounts with a balance of $10.00 or less are limited to 2 concurrent executions.", 2, None),
        ("accounts with a balance of $10.00 or less are limited to 1 concurrent execution", 1, None),
        ("above $50 100 concurrent executions run; your account is limited to 2 concurrent executions", 2, None),
        ("of 60 inputs none fits: accounts are limited to 10 concurrent executions", 10, None),
        ("too many: 3 of 4 running", 4, 3),
        ("maximum of 10 concurrent executions", 10, None),
        ("Concurrency cap: 10", 10, None),
        ("concurrent execution limit (10) exceeded", 10, None),
        ("account concurrency cap (10 in-flight executions at a balance of $10 or less)", 10, None),
        ("Concurrency limit exceeded. Current: 12, limit: 10", 10, None),
        ('limited: {"kind":"concurrent_executions","current":12,"limit":10}', 10, None),
        ('limited: {"max_concurrent_executions":10,"running":12}', 10, None),
        ("max_concurrency=25 reached, in_flight=30", 25, None),
        ("Your plan allows 10 concurrent executions", 10, None),
        ("10 concurrent executions allowed, 12 requested", 10, None),
        ("only 10 executions can run at once", 10, None),
        ("you may have at most 3 runs in parallel", 3, None),
        ("13 > 10 concurrent executions limit", 10, None),
        ("limit of 4 running jobs reached", 4, None),
        ("rate limited: 10 concurrent executions", 10, None),
        ("ratelimited: 10 concurrent executions", 10, None),
        ("throttled: 10 concurrent executions", 10, None),
        ("limiting to 10 concurrent executions", 10, None),
        ("limited to a concurrency of 10", 10, None),
        ('{"maxConcurrentExecutions": 10}', 10, None),
    ],
)
def test_a_cap_is_read_from_its_words(words: str, limit: int, used: int | None) -> None:
    """Whatever the wording: the number that is the cap, and what is used of it where that is stated beside it."""
    assert read_cap(f"HTTP 429: {words}") == Cap(limit, used)


@pytest.mark.parametrize(
    "words",
    [
        "too many concurrent executions",
        "Concurrency limit reached. Please retry your request later.",
        "concurrency limit reached; retry in 30 seconds",
        "concurrency limit reached, 5 more asked for",
        "concurrency limit reached: 12 running",
        "You already have 12 concurrent executions running",
        "balance of $10 or less: concurrency limited",
        "concurrency limit reached, limit resets at 50% load",
        "concurrency limit: 20 requests; too many concurrent executions",
        "0 of 0 concurrent executions",
        "accounts with a balance of $10.00 or less are limited to 0 concurrent executions",
        "concurrent executions are limited to a balance of 25 USD",
        "concurrent executions are limited to 10.00 USD",
        "too many running executions",
        "too many jobs are still running",
    ],
)
def test_a_cap_without_its_number_is_still_a_cap(words: str) -> None:
    """Numbers that count money, time, requests or what is in use are not taken for it."""
    assert read_cap(f"HTTP 429: {words}") == Cap()


@pytest.mark.parametrize(
    "reason",
    [
        "HTTP 429: too many requests: too many starts at once",
        "HTTP 429 Too Many Requests",
        "HTTP 429: slow down",
        "HTTP 429: too many concurrent requests",
        "HTTP 429: concurrent request limit of 5 reached",
        "HTTP 429: 12 of 10 simultaneous connections",
        "HTTP 429: too many executions started at once",
        "HTTP 429: limit of 20 workflow runs per minute",
        "HTTP 429: 100 of 100 requests in use",
        "no connection (connection refused)",
        "",
    ],
)
def test_other_refusals_are_no_cap(reason: str) -> None:
    """Requests and starts are limited by the pause, not by executions that settle."""
    assert read_cap(reason) is None


@given(st.text(max_size=200))
def test_any_words_can_be_read(words: str) -> None:
    """Whatever a gateway says, it is a cap of at least one or none."""
    for text in (words, f"HTTP 429: concurrent executions: limit {words}"):
        cap = read_cap(text)
        assert cap is None or cap.limit is None or cap.limit >= 1


def test_words_that_go_on_and_on_are_read_in_no_time() -> None:
    """No wording of 500 characters, the longest there is, sends the reading astray."""
    for piece in ("limit ", "limit: ", "1 of ", "1 a b of ", "concurrent ", "10 concurrent executions are ", "=" * 7):
        read_cap(("concurrency " + piece * 500)[:500])


def test_a_window_is_halved_and_starts_slowly() -> None:
    """1, then doubled per round up to half, then one more per round, to the pool's size and no further."""
    window = RequestWindow(8, 8).cut()
    sizes = []
    for _ in range(9):
        sizes.append(window.size)
        for _ in range(window.size):
            window = window.grown(8)
    assert sizes == [1, 2, 4, 5, 6, 7, 8, 8, 8]


@given(st.integers(1, 64), st.lists(st.booleans(), max_size=300))
def test_a_window_stays_between_one_and_the_pool(workers: int, steps: list[bool]) -> None:
    """Whatever happens, somebody may send, and never more than all."""
    window = RequestWindow(workers, workers)
    for cut in steps:
        before = window.size
        window = window.cut() if cut else window.grown(workers)
        assert 1 <= window.size <= workers
        assert window.slow_until == max(1, before // 2) if cut else before <= window.size <= before + 1


@pytest.mark.parametrize(
    ("said", "others_out", "sent", "level"),
    [
        (Cap(10, 7), 7, 5, 10),  # ours are the 7: the whole cap is ours
        (Cap(10, 7), 2, 5, 5),  # five are somebody else's
        (Cap(10, 10), 0, 10, 1),  # all are: one row knocks
        (Cap(10, 12), 10, 1, 10),  # more than the cap, since it was lowered
        (Cap(10), 10, 10, 10),
        (Cap(10), 2, 9, 10),  # ours explain it: the cap is ours alone
        (Cap(10), 2, 4, 4),  # less than the cap was refused: half of it may fit
        (Cap(), 10, 10, 15),
        (Cap(), 10, 3, 11),
        (Cap(), 10, 1, 10),
        (Cap(), 0, 1, 1),
        (Cap(100, 50), 0, 10, 9),  # words that contradict the refusal: less than was sent, all the same
    ],
)
def test_a_refusal_states_how_much_is_left(said: Cap, others_out: int, sent: int, level: int) -> None:
    """What it says is free is believed; without that, half of what was refused."""
    assert ExecutionQuota().cut(said, others_out=others_out, sent=sent) == ExecutionQuota(level, said.limit)


def test_executions_that_have_ended_since_explain_a_refusal() -> None:
    """Ten ran when the request was sent and none when its refusal came: no other client uses the cap of ten."""
    assert ExecutionQuota().cut(Cap(10), others_out=0, sent=10, out_before=10) == ExecutionQuota(10, 10)
    assert ExecutionQuota().cut(Cap(20), others_out=0, sent=10, out_before=5) == ExecutionQuota(5, 20)


def test_a_run_begins_with_a_few_requests_and_then_with_the_pool() -> None:
    """A refusal in between counts as one of the whole pool: half of that is reached slowly."""
    window = RequestWindow.at_start(8)
    assert window.size == OPENING
    assert window.grown(8).size == OPENING
    assert window.grown(8).grown(8) == RequestWindow(8, 8)
    assert window.cut() == RequestWindow(1, 4)
    assert RequestWindow.at_start(1).size == 1


def test_a_refusal_never_raises_a_share() -> None:
    """A refusal that comes late, of a request from before, does not undo what was learned."""
    assert ExecutionQuota(4, 10).cut(Cap(), others_out=8, sent=10) == ExecutionQuota(4, 10)
    assert ExecutionQuota(4, 10).cut(Cap(20, 15), others_out=8, sent=10) == ExecutionQuota(4, 20)


@pytest.mark.parametrize(("cap", "steps"), [(None, PROBE_AFTER), (10, PROBE_AFTER), (4, RECHECK_AFTER)])
def test_a_share_stands_still_after_a_refusal_and_then_grows_by_one(cap: int | None, steps: int) -> None:
    """Ten requests for a guess, fifty for the API's own cap; then each one that fills the share adds one."""
    share = ExecutionQuota(4, cap)
    for _ in range(steps):
        share = share.grown(4)
    assert share == ExecutionQuota(4, cap, steps)
    share = share.grown(4)
    assert share == ExecutionQuota(5, None if cap == 4 else cap, steps + 1)
    assert share.grown(5).level == 6


def test_a_share_that_is_not_used_up_does_not_grow() -> None:
    """What was never tried is not known to be allowed."""
    share = ExecutionQuota(4, None, 1_000)
    assert share.grown(3).level == 4
    assert ExecutionQuota().grown(50) == ExecutionQuota()


def test_polls_are_spaced_out() -> None:
    """From a quarter of a second to ten, a fifth less or more."""
    assert settle_delay(1, draw=0.0) == pytest.approx(0.2)
    assert settle_delay(1, draw=1.0) == pytest.approx(0.3)
    assert settle_delay(2, draw=0.5) == pytest.approx(0.375)
    assert settle_delay(1_000, draw=0.0) == pytest.approx(8.0)
    assert settle_delay(1_000, draw=1.0) == pytest.approx(10.0)
