"""Runs any command of gpt_tf and of its pipelines by its name.

  gpt-tf                      the commands, in the order of the work
  gpt-tf COMMAND --help       what a command does, and its flags
  gpt-tf pretrain --flagfile=gpt1.flags --data_dir=data/books --model_dir=runs/books

Each is a module, too: `gpt-tf pretrain` is `python -m gpt_tf.pretrain`, `gpt-tf stories` is
`python -m pipelines.stories`.
"""

import ast
import importlib.util
import pathlib
import runpy
import sys

from gpt_tf.common.streams import standard_streams

COMMANDS = {name.split(".")[1]: name for name in (
    "pipelines.train_bpe", "pipelines.build_corpus", "gpt_tf.pretrain", "gpt_tf.evaluate",
    "gpt_tf.generate", "pipelines.build_task", "gpt_tf.finetune", "gpt_tf.predict",
    "gpt_tf.zero_shot", "gpt_tf.report", "gpt_tf.convert", "gpt_tf.export", "pipelines.stories",
    "pipelines.story_tasks")}


def summary(module: str) -> str:
    """The first line of a module's docstring; the module is not imported."""
    source = pathlib.Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).partition("\n")[0]


def listing() -> str:
    """The commands, one a line, with what each does."""
    lines = (f"  {name:13} {summary(module)}" for name, module in COMMANDS.items())
    return "\n".join(["Usage: gpt-tf COMMAND --flag=value ...", "", *lines, "",
                      "gpt-tf COMMAND --help says more."])


def main() -> None:
    """Runs the command that the first argument names; without one, lists them."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-help", "-h"):
        with standard_streams(is_log=False):
            print(listing())
    elif name not in COMMANDS:
        print(f"error: {name!r:.80} is no command of gpt-tf: give one of {', '.join(COMMANDS)}.",
              file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv[1:] = arguments
        # As __main__, where a command defines its flags, and where the processes that it starts
        # look for what to import.
        runpy.run_module(COMMANDS[name], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
