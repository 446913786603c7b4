"""Runs a command of gpt_tf on models with an LSTM in the place of the decoder's blocks.

  python -m benchmarks.paper.lstm pretrain --flagfile=books_tiny.flags --data_dir=data/books \\
      --model_dir=runs/lstm --num_layers=1 --num_heads=1 --intermediate_dim=372
  python -m benchmarks.paper.lstm generate --model_dir=runs/lstm --prompt="It was"

--intermediate_dim is the number of its units: 2048 in the paper; `table5` says how many have the
parameters of a decoder's blocks. Recipes, losses, heads and data are the decoder's. Without this
command gpt_tf refuses such a run: its checkpoints hold another model.
"""

import runpy
import sys

from absl import flags

from gpt_tf.common import cli, flagfiles
from gpt_tf.common.errors import UserError
from gpt_tf.runs import run_folder

_HELP = ("--help", "-help", "-h", "--helpshort")
COMMANDS = ("pretrain", "finetune", "evaluate", "predict", "zero_shot", "generate")


def _refusal(name: str, arguments: list[str]) -> str:
    """Why a command's flags do not fit an LSTM; "" where they do."""
    found = flags.FlagValues()
    flags.DEFINE_integer("num_layers", None, "", flag_values=found)
    flags.DEFINE_string("init_from", run_folder.FROM_SCRATCH, "", flag_values=found)
    flags.DEFINE_bool("dry_run", False, "", flag_values=found)
    found.set_gnu_getopt(True)
    try:
        found(["", *flagfiles.expand(arguments)], known_only=True)
    except (flags.Error, UserError):  # the command says it
        return ""
    if found.dry_run:
        return "--dry_run tells of the decoder's blocks, not of an LSTM: leave it out."
    # Not given, it is that of the run to start from, or the decoder's.
    begins = name == "pretrain" and found.init_from == run_folder.FROM_SCRATCH
    is_one = found.num_layers == 1 or found.num_layers is None and not begins
    return "" if is_one else "The LSTM has one layer: give --num_layers=1."


def main() -> None:
    """Runs the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in _HELP:
        print(__doc__)
        return
    if name not in COMMANDS:
        print(f"error: {name!r:.80} is no command that takes an LSTM: give one of "
              f"{', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)
    if not set(_HELP) & set(arguments) and (reason := _refusal(name, arguments)):
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(2)
    cli.import_tensorflow()
    from benchmarks.paper.lstm_block import in_place_of_blocks

    sys.argv[1:] = arguments
    with in_place_of_blocks():
        runpy.run_module(f"gpt_tf.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
