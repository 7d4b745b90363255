"""Parameter grids as frames of rows to trigger."""
