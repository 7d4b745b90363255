"""The journal on this machine: what was sent, and what became of it, in one SQLite file. Alone imports sqlite3.

`store` owns the file, `owners` says which calls are still at work, `writer` commits, `entry` is one call's place in a
run, `archive` reads and deletes runs.
"""
