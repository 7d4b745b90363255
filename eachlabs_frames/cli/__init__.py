"""The command line: ``eachlabs-frames trigger | retry | download | ...``. Commands are imported when called."""

from .main import main

__all__ = ["main"]
