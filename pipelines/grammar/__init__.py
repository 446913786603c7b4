"""The sample stories."""
