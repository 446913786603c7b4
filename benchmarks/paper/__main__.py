"""Makes a table or a figure of the paper from a pre-trained run.

  python -m benchmarks.paper tables --pretrained=runs/english --tasks_dir=tasks --work_dir=paper

Without a name it lists what there is. Each name is a module of this package, whose `--help` says
more: `tables` is `python -m benchmarks.paper.tables`.
"""

import runpy
import sys

from gpt_tf.__main__ import summary

NAMES = ("tables", "labels", "table5", "figure2_left", "figure2_right")


def main() -> None:
    """Runs what the first argument names; without one, lists what there is."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-help", "-h"):
        print("Usage: python -m benchmarks.paper NAME --flag=value ...\n")
        for each in NAMES:
            print(f"  {each:13} {summary(f'benchmarks.paper.{each}')}")
        return
    if name not in NAMES:
        print(f"error: {name!r:.80} is no table or figure: give one of {', '.join(NAMES)}.",
              file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = arguments
    runpy.run_module(f"benchmarks.paper.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
