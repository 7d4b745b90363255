"""The search for executions whose request got no response."""
