"""The journal on this machine: what was sent, and what became of it, in one SQLite file. Alone imports sqlite3.

`store` opens the file, `stamp` sees that it stays in place, `transactions` waits for the write lock, `writer` commits.
`mark` and `completeness` tell whether records were lost, and `loss` goes on without them. `owners` has the locks of
running sessions, `sessions` who is running, `presence` one session's part in all of these. `entry` is one call's place
in a run, `rows` its rows, `unanswered` its requests without an answer. `archive` reads and deletes runs.
"""
