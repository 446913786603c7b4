"""Which kernels take the time, by JAX's profiler."""

import collections
from collections.abc import Callable
import glob
import os

import jax


def slowest(run: Callable[[], object], folder: str, count: int = 30) -> str:
    """Runs something under the profiler.

    Args:
      run: what, to its end.
      folder: for the profile.
      count: kernels to name.

    Returns:
      A table of the kernels that take longest on the device: milliseconds, calls, name.
    """
    try:
        with jax.profiler.trace(folder):
            run()
    except Exception as error:  # some machines forbid it; the rates stand without
        return f"no profile: {error}"
    times, calls = collections.Counter(), collections.Counter()
    for path in glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True):
        for plane in jax.profiler.ProfileData.from_file(path).planes:
            if not plane.name.startswith("/device:GPU"):
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    times[event.name] += event.duration_ns / 1e6
                    calls[event.name] += 1
    rows = [f"{milliseconds:9.3f} {calls[name]:6d} {name:.110}"
            for name, milliseconds in times.most_common(count)]
    return "\n".join([f"{sum(times.values()):9.3f} ms on the device, of which", *rows])
