"""Text -> windows."""
