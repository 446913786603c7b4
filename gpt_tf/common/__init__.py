"""The frame of a command, the user's errors, whole-or-absent files, progress."""
