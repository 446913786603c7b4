"""On what a run computes: what its first line says, and GPUs that TensorFlow does not see."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import os
import pathlib
import re
import subprocess
import sys

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.training.distribution import Cluster

# Compute capability from which on GPUs multiply in bfloat16 and in TF32.
_AMPERE = (8, 0)
# With one of these in front CUDA_VISIBLE_DEVICES hides all GPUs; the word is Slurm's.
_NONE = ("", "-1", "NoDevFiles")
_LOOK = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
# W0000 00:00:1795732991.281405   24013 gpu_device.cc:2365] Cannot dlopen some ...
_NOTICE = re.compile(r"^([A-Z])\d{4} \S+ +\d+ (\S*(?:cuda|gpu)\S*)\.cc:\d+\] (.*)$", re.MULTILINE)


def choose(device: str, dtype: str) -> None:
    """Has TensorFlow compute where and in which numbers the flags say.

    Call before it has computed anything.

    Args:
      device: of `--device`.
      dtype: of `--dtype`.

    Raises:
      UserError: "auto", and the machine has an NVIDIA GPU that TensorFlow does not see.
    """
    allow_tf32(dtype)
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif gpus := unseen_gpus():
        reason, remedy = why_unseen()
        raise UserError(f"This machine has {gpus}, and TensorFlow sees no GPU ({reason}): "
                        f"{remedy}; or train on the CPU with --device=cpu.")


def allow_tf32(dtype: str) -> None:
    """Turns TF32 off where `--dtype` is float32: GPUs round the factors of products to 10 bits.

    Not where it is mixed_bfloat16, whose products are of bfloat16 alone: where TF32 is off, all of
    TensorFlow's products ask XLA for the highest precision, which has fewer kernels for that.
    """
    tf.config.experimental.enable_tensor_float_32_execution(dtype != "float32")


def describe(cluster: Cluster, dtype: str) -> str:
    """See `first_line`, of the devices of this worker."""
    visible = tf.config.get_visible_devices("GPU")
    specs = map(tf.DeviceSpec.from_string, cluster.strategy.extended.worker_devices)
    gpus = [tf.config.experimental.get_device_details(visible[spec.device_index])
            for spec in specs if spec.device_type == "GPU"]
    return first_line(gpus, _cores(), len(cluster.strategy.extended.worker_devices),
                      cluster.share.count, dtype)


def first_line(gpus: Sequence[Mapping], cores: int, replicas: int, workers: int,
               dtype: str) -> str:
    """What a command that trains says first; a second line where another dtype would pay.

    Examples:
      1 x NVIDIA H100 80GB HBM3, mixed_bfloat16.
      CPU, 2 cores, float32.

    Args:
      gpus: of each that is used, what `tf.config.experimental.get_device_details` says.
      cores: that the process may use.
      replicas: of this worker.
      workers: that train together.
      dtype: of `--dtype`.
    """
    where = counted(gpu.get("device_name", "GPU") for gpu in gpus)
    if not gpus:
        where = f"CPU, {cores} {'core' if cores == 1 else 'cores'}"
        if replicas > 1:
            where += f", {replicas} replicas"
    multiplies_fast = bool(gpus) and all(
        tuple(gpu.get("compute_capability", ())) >= _AMPERE for gpu in gpus)
    numbers = dtype if dtype != "tf32" or multiplies_fast else "float32 (there is no TF32 here)"
    line = f"{where}, {numbers}" + (f", on the first of {workers} workers." if workers > 1 else ".")
    if multiplies_fast and dtype == "float32":
        line += "\nA new run is faster here with --dtype=mixed_bfloat16."
    if not gpus and dtype == "mixed_bfloat16":  # also where the processor multiplies bfloat16
        line += ("\nA new run is faster here with --dtype=float32: on a CPU XLA makes the products "
                 "of bfloat16 in float32.")
    return line


def _cores() -> int:
    """Those that this process may use, as TensorFlow counts them; macOS tells all."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1)


def counted(names: Iterable[str]) -> str:
    """Names with their numbers: "2 x NVIDIA A100-SXM4-40GB and 1 x Tesla T4"; "" for none."""
    return " and ".join(f"{count} x {name}" for name, count in Counter(names).items())


def warn_of_unseen() -> None:
    """Says on standard error if the CPU computes although the machine has an NVIDIA GPU."""
    if gpus := unseen_gpus():
        print(f"On the CPU: TensorFlow does not see this machine's {gpus}. What says why: python "
              f'-c "{_LOOK}"', file=sys.stderr)


def unseen_gpus() -> str:
    """The machine's NVIDIA GPUs if TensorFlow has none and nobody hides them, as `counted`."""
    if (tf.config.list_physical_devices("GPU")
            or are_hidden(os.environ.get("CUDA_VISIBLE_DEVICES"))):
        return ""
    return counted(nvidia_gpus())


def are_hidden(visible: str | None) -> bool:
    """Whether whoever set CUDA_VISIBLE_DEVICES to `visible` wants no GPU; None: it is not set."""
    return visible is not None and visible.split(",")[0].strip() in _NONE


def nvidia_gpus(root: str | os.PathLike = "/") -> list[str]:
    """The models of the NVIDIA GPUs that the system shows, whatever CUDA makes of them.

    In a container /proc shows those of the machine, also if the container was given none.

    Args:
      root: where proc, dev and usr are found.
    """
    root = pathlib.Path(root)
    files = sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    models = [re.search(r"^Model:\s*(.*?)\s*$", path.read_text(encoding="utf-8", errors="replace"),
                        re.MULTILINE) for path in files]
    names = [model[1] if model else "NVIDIA GPU" for model in models]
    nodes = sum(1 for path in root.glob("dev/nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    # Windows' Linux has one node for all GPUs, and this library where there is NVIDIA's driver.
    nodes += (root / "usr/lib/wsl/lib/libcuda.so.1").exists()
    return names or ["NVIDIA GPU"] * nodes


def why_unseen() -> tuple[str, str]:
    """Why TensorFlow sees no GPU, and what to do: (TensorFlow's reason, ours).

    A process of its own asks: this one holds TensorFlow's notices back from its first moment on.
    """
    package = f"'tensorflow[and-cuda]=={tf.__version__}'"
    if not tf.test.is_built_with_cuda():
        return ("it is built without CUDA",
                f"python -m pip install --force-reinstall {package} takes its place")
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, check=False,
                          env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"})
    reason = last_reason(done.stderr.decode("utf-8", "replace"))
    if "dlopen" in reason:
        return reason, f"python -m pip install {package} adds CUDA's libraries"
    return (reason or "it does not say why",
            "see whether nvidia-smi lists one (a container is given them by --gpus=all, a job of "
            "Slurm by --gpus=1)")


def last_reason(notices: str) -> str:
    """The last of TensorFlow's notices that tells of trouble with a GPU; "" if none does.

    Example: ... gpu_device.cc:2365] Cannot dlopen some GPU libraries. Please make sure ...
      gives "Cannot dlopen some GPU libraries".
    """
    found = [text for severity, _, text in _NOTICE.findall(notices)
             if severity != "I" or text.startswith("Ignoring visible gpu")]
    return found[-1].partition(". Please ")[0].rstrip(".") if found else ""
