"""Calls in a Python process of their own, for what computes before its caller may.

Once TensorFlow has computed anything, a process can neither join other workers nor hide its GPUs.
"""

from collections.abc import Sequence
import importlib
import json
import os
import subprocess
import sys

from gpt_tf.common import cli, memory
from gpt_tf.common.errors import UserError

_TOLD = 3  # exit code where standard error holds the sentence of a UserError


def call(module: str, name: str, *arguments: str | None) -> None:
    """Calls a function that may need TensorFlow, in another process unless it is imported here: who
    has imported it has also said on what it computes.

    Args:
      module, name: of the function; what it returns is dropped.
      *arguments: its arguments.

    Raises:
      UserError: the function's own, or the process was ended by a signal.
    """
    if "tensorflow" in sys.modules:
        _call(module, name, arguments)
        return
    # Wherever this process found its modules, that one finds them.
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", __name__, module, name, json.dumps(arguments)], check=False,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""})
    message = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == _TOLD:
        raise UserError(message)
    if done.returncode < 0:
        raise UserError(f"The process of {module} was ended by signal {-done.returncode}: where "
                        "memory is short, the system does that; run the same command again.")
    if done.returncode:
        raise RuntimeError(message)
    if message:  # notices
        print(message, file=sys.stderr)


def _call(module: str, name: str, arguments: Sequence[str | None]) -> None:
    getattr(importlib.import_module(module), name)(*arguments)


def _main() -> None:
    _, module, name, arguments = sys.argv
    try:
        cli.import_tensorflow()
        _call(module, name, json.loads(arguments))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(_TOLD)
    except KeyboardInterrupt:  # the caller's, too, who says so
        sys.exit(130)
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        print(memory.out_of_memory_message(error, "take a machine with more memory"),
              file=sys.stderr)
        sys.exit(_TOLD)


if __name__ == "__main__":
    _main()
