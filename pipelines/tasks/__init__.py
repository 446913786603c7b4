"""Task files -> records."""
