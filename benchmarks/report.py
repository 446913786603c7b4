"""What every benchmark shares: sides in fresh processes, the machine's description, tables."""

from collections.abc import Callable, Iterable, Sequence
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys

from gpt_tf.common.errors import UserError

_MIB = 2**20


def describe_machine(packages: Iterable[str]) -> str:
    """One line: date, processor, cores, memory, Python and the versions of `packages`."""
    processor = platform.processor()
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        for line in stream:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (f"{datetime.date.today()}, {processor}, {len(os.sched_getaffinity(0))} cores, "
            f"{memory:.0f} GiB, Python {platform.python_version()}, {versions}")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column reads left, the others right."""
    lines = ["| " + " | ".join(header) + " |",
             "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def peak_memory_mib() -> float:
    """The most memory this process has had resident so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def check_sides(given: Sequence[str], known: Sequence[str]) -> None:
    """Raises UserError if `--sides` names one that there is not, or none."""
    unknown = [side for side in given if side not in known]
    if unknown or not given:
        raise UserError(f"--sides={','.join(given)} must name some of {', '.join(known)}.")


def run_side(module: str, arguments: Sequence[str], environment: dict[str, str] | None = None
             ) -> dict:
    """Runs one side in a fresh process and returns what it printed last, a JSON object.

    A process of its own gives each side its own peak memory and nobody else's warm caches. This
    process must stay small: Linux lets a child's peak start at its parent's size.

    Raises:
      RuntimeError: the side failed; the message ends with what it said.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True,
                          env=os.environ | (environment or {}), check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(sides: Sequence[str], rounds: int, measure: Callable[[str], dict]
              ) -> dict[str, list[dict]]:
    """Measures every side once a round, so that a slow minute of the machine meets them all.

    Every other round runs backwards: no side always follows the same one.
    """
    results: dict[str, list[dict]] = {side: [] for side in sides}
    for index in range(rounds):
        for side in (sides if index % 2 == 0 else reversed(sides)):
            results[side].append(measure(side))
            shown = {name: value for name, value in results[side][-1].items() if name != "digests"}
            print(f"round {index + 1}/{rounds} {side}: {json.dumps(shown)}",
                  file=sys.stderr, flush=True)
    return results


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Ours over theirs, pair by pair of one round: median and range."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    text = f"{statistics.median(pairs):.2f}x"
    return text if len(pairs) == 1 else f"{text} ({min(pairs):.2f}-{max(pairs):.2f})"
