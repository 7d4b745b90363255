"""The command line: ``eachlabs-frames demo | trigger | sandbox``. What is heavy is imported when a command needs it."""

from .main import main

__all__ = ["main"]
