"""Fails every write, fsync, rename, lock and read of the commands, one at a time, or kills there.

  python -m benchmarks.faults --errors=EIO
  python -m benchmarks.faults --errors=KILL --kinds=sync,rename
  python -m benchmarks.faults --errors=ENOSPC --kinds=write,create --stays
  python -m benchmarks.faults --commands=finetune --chains=50

Each trial starts a command on tiny files (tests/fault_cases.py), of which the n-th operation of a
kind fails with an error, or meets SIGKILL; and then the same command undisturbed. It must have
ended with one sentence and code 1, or with 0 and all done; inputs must be as they were, what is
replaced the old or the new; and the end must be, byte for byte, that of a command which nothing
disturbed, with nothing left beside it. With --chains each trial is of up to three faults of any
kind in a row, and half of them are kills. Needs a C compiler.
"""

import collections
import contextlib
import errno
import os
import pathlib
import random
import re
import sys
import tempfile

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from tests import faults

_COMMANDS = flags.DEFINE_list("commands", [], "Which; none: all.")
_ERRORS = flags.DEFINE_list("errors", ["EIO"], "Names of errno's, or KILL.")
_KINDS = flags.DEFINE_list("kinds", list(faults.KINDS), "Operations that fail.")
_EVERY = flags.DEFINE_integer("every", 1, "Of each kind, every so many-th operation.",
                              lower_bound=1)
_STAYS = flags.DEFINE_bool("stays", False, "Whether all operations of the kind fail from then on.")
_CHAINS = flags.DEFINE_integer("chains", 0, "Trials of several faults at random, in place of one "
                                            "for each operation.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 1, "Decides the chains.")


def _number(name: str) -> int:
    if name == "KILL":
        return faults.KILL
    if not hasattr(errno, name):
        raise UserError(f"--errors names {name}, which is no error of the system.")
    return getattr(errno, name)


def _chains(counts: dict[str, int], errors: list[int]) -> list[list[faults.Fault]]:
    chance = random.Random(_SEED.value)
    kinds = [kind for kind in _KINDS.value if counts[kind]]

    def draw() -> faults.Fault:
        kind = chance.choice(kinds)
        return faults.Fault(kind, chance.randint(1, counts[kind]),
                            chance.choice([faults.KILL, chance.choice(errors)]))
    return [[draw() for _ in range(chance.randint(1, 3))] for _ in range(_CHAINS.value)]


def _each(counts: dict[str, int], errors: list[int]) -> list[list[faults.Fault]]:
    return [[faults.Fault(kind, nth, error, _STAYS.value)] for kind in _KINDS.value
            for error in errors for nth in range(1, counts[kind] + 1, _EVERY.value)]


def _try(name: str, trials, told: set[str]) -> collections.Counter:
    """Disturbs one command everywhere; `told` are sentences that were printed."""
    from tests.fault_cases import Defect

    total: collections.Counter = collections.Counter()
    print(f"{name}: {', '.join(f'{count} {kind}' for kind, count in trials.counts.items())}",
          flush=True)
    plan = (_chains if _CHAINS.value else _each)(trials.counts, list(map(_number, _ERRORS.value)))
    for chain in plan:
        where = f"{name}, {' then '.join(map(str, chain))}"
        total["trials"] += 1
        try:
            all_ended = trials.disturb(*chain)
        except (Defect, TimeoutError) as error:
            total["defects"] += 1
            print(f"{where}: {error}", flush=True)
            continue
        for ended in all_ended:
            total["faults"] += bool(ended.met)
            if not ended.done:
                total["killed"] += 1
                continue
            total["refused" if ended.done.code else "harmless"] += bool(ended.met)
            for sentence in re.findall(r"^error: .*", ended.done.stderr, re.MULTILINE):
                if (kind := re.sub(r"\d+", "N", sentence)) not in told:
                    told.add(kind)
                    print(f"{where}: {sentence}", flush=True)
    return total


_COLUMNS = ("trials", "faults", "refused", "harmless", "killed", "defects")


def main() -> None:
    """Prints a table, and exits with 1 where there are defects."""
    if not faults.is_injectable():
        if not faults.compiler():
            raise UserError("No C compiler (cc, gcc or clang) is here: tests/faults.c needs one.")
        sys.exit(faults.run_with_faults([sys.executable, "-m", "benchmarks.faults",
                                         *sys.argv[1:]]).returncode)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    cli.import_tensorflow()
    from tests.fault_cases import COMMANDS, Trials

    totals, told = {}, set()
    for name in _COMMANDS.value or COMMANDS:
        with (tempfile.TemporaryDirectory() as folder,
              contextlib.closing(Trials(COMMANDS[name], pathlib.Path(folder))) as trials):
            totals[name] = _try(name, trials, told)
    totals["all"] = sum(totals.values(), collections.Counter())
    print(report.markdown_table(["command", *_COLUMNS], [
        [name, *(f"{counts[column]:,}" for column in _COLUMNS)]
        for name, counts in totals.items()]))
    sys.exit(totals["all"]["defects"] > 0)


if __name__ == "__main__":
    cli.run(main)
