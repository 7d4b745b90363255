"""Views of results in notebooks and pages. Nothing here sends a request."""
