"""Output files to a local folder: their names, which URLs may be fetched, and the transfer itself."""
