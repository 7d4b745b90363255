"""The command line: ``eachlabs-frames demo | trigger | runs | sandbox``. What is heavy is imported when needed."""

from .main import main

__all__ = ["main"]
