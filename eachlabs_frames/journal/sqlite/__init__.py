"""The journal in one SQLite file on this machine. Alone imports sqlite3; only `journal.open_journal` uses it.

`journal` implements `Journal` by means of `stored_runs` (list, load, delete), `history` (questions about all runs) and
`loss` (lost records); `run_journal` implements `RunJournal` with `row_table`, `lost_requests` and `writer` (one thread,
durable groups). `database` opens the file, `transactions` waits for the write lock. `sessions` and `leases` tell which
calls are running; `presence` is one call's part in that; `completeness` and `mark` tell whether records were lost.
"""
