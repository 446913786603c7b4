"""What decides the last bits of a number: the processor's vector instructions, and releases."""

import importlib.metadata
import os
import pathlib
import re

_VECTOR = re.compile(r"(avx|amx|fma|f16c|sse|asimd|sve|fphp).*")
_PACKAGES = ("tensorflow", "keras", "keras-nlp", "numpy")


def describe() -> dict:
    """This machine, as JSON holds it; `flags` and `vendor` are those of its first processor."""
    pairs = [line.partition(":") for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n")]
    facts = {name.strip(): value.strip() for name, _, value in reversed(pairs)}
    flags = (facts.get("flags") or facts.get("Features", "")).split()
    return {
        "vendor": facts.get("vendor_id") or facts.get("CPU implementer", ""),
        "vector_flags": sorted(filter(_VECTOR.fullmatch, flags)),
        "cores": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES}}


def computes_alike(one: dict, other: dict) -> bool:
    """Whether two descriptions are of machines whose sums agree to the last bit.

    XLA and oneDNN make their code for the vector instructions that they find. The number of cores
    does not count: sums of this size are never shared out.
    """
    return all(one[name] == other[name] for name in ("vendor", "vector_flags", "packages"))
