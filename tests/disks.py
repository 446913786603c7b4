"""Small file systems, to be full or not to be written."""

import contextlib
import subprocess

import pytest


@contextlib.contextmanager
def mounted(folder, options):
    """A tmpfs of `mount -o options` in `folder`; skips the test where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False,
                          capture_output=True)
    if made.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
