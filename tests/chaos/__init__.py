"""Chaos tests: processes that are killed, replies that are lost, and checks of the executions in the sandbox."""
