"""This package beside what a user would use instead: `python -m benchmarks peers --help`."""
