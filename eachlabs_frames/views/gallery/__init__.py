"""The gallery: one card for each row."""
