"""Comparisons: two results are judged pair by pair, blind."""
