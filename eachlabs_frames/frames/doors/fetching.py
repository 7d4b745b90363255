"""What brings results home: what the executions put out, line by line or as files."""

from __future__ import annotations

from .door import Door


class Fetching(Door):
    """Results become data of the caller's own."""
