"""A frame's rows to inputs, and results back to columns: the implementation of each call."""
