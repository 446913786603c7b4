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

from gpt_tf.common import cli

COMMANDS = ("pretrain", "finetune", "evaluate", "predict", "zero_shot", "generate")


def main() -> None:
    """Runs the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-help", "-h"):
        print(__doc__)
        return
    if name not in COMMANDS:
        print(f"error: {name!r:.80} is no command that takes an LSTM: give one of "
              f"{', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)
    cli.import_tensorflow()
    from benchmarks.paper.lstm_block import in_place_of_blocks

    sys.argv[1:] = arguments
    with in_place_of_blocks():
        runpy.run_module(f"gpt_tf.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
