"""Several workers of one command on this machine, over the loopback address.

  python -m tests.workers 2 python -m gpt_tf.pretrain --strategy=multi_worker --data_dir=... \\
      --model_dir=...

Ends with the first exit code that is not 0.
"""

import json
import os
import socket
import subprocess
import sys


def free_addresses(count: int) -> list[str]:
    """`count` addresses that nobody listened at a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


def start(command: list[str], count: int, **options) -> list[subprocess.Popen]:
    """Starts `count` processes that know of each other by TF_CONFIG; the first is the chief.

    Args:
      command: of each.
      count: workers.
      **options: of `subprocess.Popen`.
    """
    addresses = free_addresses(count)
    workers = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(subprocess.Popen(
            command, env=os.environ | {"TF_CONFIG": json.dumps(task)}, **options))
    return workers


def main() -> None:
    """Starts the workers and waits for them."""
    codes = [worker.wait() for worker in start(sys.argv[2:], int(sys.argv[1]))]
    sys.exit(next((code for code in codes if code), 0))


if __name__ == "__main__":
    main()
