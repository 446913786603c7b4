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

from absl import flags

from gpt_tf.common.errors import UserError

OLD = "ours_old"

_MIB = 2**20
# Linux's name of an instruction set -> its own.
_VECTORS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16",
            "amx_bf16": "AMX-BF16"}
_SETTINGS = ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA",
             "OMP_NUM_THREADS")


def describe_machine(packages: Iterable[str]) -> str:
    """One line: date, processor, cores, memory, Python, the versions of `packages`, and settings.

    With the processor stand those of its instructions that products are made of, with the packages
    the environment's settings of TensorFlow, XLA and oneDNN.
    """
    processor, has = processor_and_flags()
    vectors = ", ".join(name for flag, name in _VECTORS.items() if flag in has)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    settings = ", ".join(f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ)
    return (f"{datetime.date.today()}, {processor} ({vectors or 'no AVX2'}), "
            f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
            f"Python {platform.python_version()}, {versions}; "
            f"{settings or 'XLA and oneDNN as they come'}")


def processor_and_flags() -> tuple[str, set[str]]:
    """The processor's name and the instructions it has, by Linux's names."""
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        lines = dict(map(str.strip, line.split(":", 1)) for line in stream if ":" in line)
    return (lines.get("model name", platform.processor()),
            set(lines.get("flags", lines.get("Features", "")).split()))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column reads left, the others right."""
    lines = ["| " + " | ".join(header) + " |",
             "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def peak_memory_mib() -> float:
    """The most memory this process has had resident so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def define_old() -> flags.FlagHolder:
    """The flag by which an older revision takes part."""
    return flags.DEFINE_string(
        "old", None, "Root of a checkout of another revision (git worktree add), whose `ours` "
        f"takes part as {OLD}.")


def with_old(sides: Sequence[str], old: str | None) -> list[str]:
    """The sides, and `OLD` if `--old` names a checkout; UserError if it names something else."""
    if old is None:
        return list(sides)
    if not os.path.exists(os.path.join(old, "benchmarks", "report.py")):
        raise UserError(f"--old={old} is no checkout of this project: there is no "
                        "benchmarks/report.py in it.")
    return [*sides, OLD]


def check_sides(given: Sequence[str], known: Sequence[str]) -> None:
    """Raises UserError if `--sides` names one that there is not, or none."""
    unknown = [side for side in given if side not in known]
    if unknown or not given:
        raise UserError(f"--sides={','.join(given)} must name some of {', '.join(known)}.")


def run_side(module: str, arguments: Sequence[str], side: str, old: str | None = None,
             environment: dict[str, str] | None = None) -> dict:
    """Runs one side in a fresh process and returns what it printed last, a JSON object.

    A process of its own gives each side its own peak memory and nobody else's warm caches. This
    process must stay small: Linux lets a child's peak start at its parent's size.

    Args:
      module: the benchmark.
      arguments: its arguments, but for `--side`.
      side: the side's name; `OLD` is `ours` of the checkout `old`.
      old: what `--old` names.
      environment: variables of the process, beside this one's.

    Raises:
      RuntimeError: the side failed; the message ends with what it said.
    """
    name, root = ("ours", old) if side == OLD else (side, None)
    command = [sys.executable, "-m", module, *arguments, f"--side={name}"]
    # Python looks for the module in the folder it starts in first of all.
    done = subprocess.run(command, capture_output=True, text=True, cwd=root,
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
