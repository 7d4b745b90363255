"""The exit codes that a command gives itself; `signals` has those of a signal."""

DONE, NOT_ALL, WRONG_CALL = 0, 1, 2
