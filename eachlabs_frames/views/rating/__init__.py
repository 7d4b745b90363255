"""Ratings: the results of a frame are scored one by one."""
