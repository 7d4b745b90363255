"""Rating single results and comparing pairs."""
