"""Models that others have published: a handle -> a folder on this machine."""
