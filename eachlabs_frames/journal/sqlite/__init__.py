"""The journal in one SQLite file on this machine. Alone imports sqlite3; only `journal.open_journal` uses it.

`journal` implements `Journal`, `upload_journal` implements `UploadJournal`. `run_journal` implements `RunJournal` with
`run_tables`, the rows of one run, `session_writer`, which commits in durable groups, and `in_flight`, what a search
must not adopt. `database` opens the file, brings it to the version of `migrations` and begins transactions, `sessions`
tells which calls are running, and `integrity` whether records were lost.
"""
