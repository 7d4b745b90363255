"""The journal in one SQLite file on this machine. Alone imports sqlite3; only `journal.open_journal` uses it.

`journal` implements `Journal` with `history`, which reads the records of all runs. `run_journal` implements
`RunJournal` with `run_tables`, the rows and records of one run, and `writer`, one thread that commits in durable
groups; `upload_journal` implements `UploadJournal`. `database` opens the file, brings it to the version of `migrations`
and begins transactions, `sessions` tells which calls are running, and `integrity` whether records were lost.
"""
