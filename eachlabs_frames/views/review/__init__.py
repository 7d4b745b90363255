"""What rating and comparison share: stepping through results, messages of the browser, undo."""
