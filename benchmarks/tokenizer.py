"""Speed of the tokenizer on one core, against the released path and Hugging Face's `tokenizers`.

  python -m benchmarks.tokenizer --input='books/*.txt' --tokenizer=bpe

Each side runs in a fresh process on the same text: "cold" is its first megabytes, with nothing
remembered and its libraries just loaded; "new text" is what follows; "again" is the latter once
more. MB are 10^6 bytes of UTF-8. `tokenizers` splits words as BERT does: its ids are not the
paper's, and the table says how many documents come out the same.
"""

from collections.abc import Callable
import hashlib
import json
import os
import statistics
import time

from absl import flags

from benchmarks import encoders, report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError

_ALL_SIDES = ["ours", "released", "tokenizers"]

_INPUT = flags.DEFINE_string("input", None, "Glob of UTF-8 text files.")
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "Folder of the published layout.")
_COLD = flags.DEFINE_float("cold_megabytes", 5, "Text of the cold measure.")
_WARM = flags.DEFINE_float("warm_megabytes", 15, "New text after it.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SIDES = flags.DEFINE_list("sides", _ALL_SIDES, "Which sides take part, ours first.")
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")

_PHASES = ("cold", "new text", "again")


def make_encoder(name: str, folder: str) -> Callable[[str], object]:
    """text -> ids, of one side."""
    if name == "ours":
        from gpt_tf.tokenizer import Tokenizer
        return Tokenizer.load(folder).encode_array
    paths = encoders.tokenizer_files(folder)
    if name == "released":
        return encoders.ReleasedEncoder.from_files(*paths).encode
    encoder = encoders.bert_split_encoder(*paths)
    return lambda text: encoder.encode(text).ids


def measure_here(name: str) -> dict:
    """MB/s of each phase in this process, on one core, and a digest of every document's ids."""
    import numpy as np
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cold_bytes, warm_bytes = int(_COLD.value * 1e6), int(_WARM.value * 1e6)
    cold = encoders.read_documents(_INPUT.value, 0, cold_bytes)
    warm = encoders.read_documents(_INPUT.value, cold_bytes, warm_bytes)
    encode = make_encoder(name, _TOKENIZER.value)
    result: dict = {"digests": []}
    for phase, documents in zip(_PHASES, (cold, warm, warm)):
        size = sum(len(document.encode()) for document in documents)
        start = time.perf_counter()
        ids = [encode(document) for document in documents]
        result[phase] = size / 1e6 / (time.perf_counter() - start)
        result["digests"] += [hashlib.md5(np.asarray(i, np.int32).tobytes()).hexdigest()
                              for i in ids]
    return result | {"peak_memory_mib": report.peak_memory_mib()}


def make_table(results: dict[str, list[dict]]) -> str:
    """A row for each side and phase-wise ratios of the first side over it."""
    first = next(iter(results))
    wanted = results["released"][0]["digests"] if "released" in results else []
    rows = []
    for side, runs in results.items():
        same = sum(a == b for a, b in zip(runs[0]["digests"], wanted))
        row = [side]
        for phase in _PHASES:
            rates = [run[phase] for run in runs]
            row += [f"{statistics.median(rates):.2f}",
                    report.ratio([run[phase] for run in results[first]], rates)]
        rows.append(row + [f"{max(run['peak_memory_mib'] for run in runs):.0f}",
                           f"{same} of {len(wanted)}"])
    header = ["side"]
    for phase in _PHASES:
        header += [f"{phase}, MB/s", f"{first} / side"]
    return report.markdown_table([*header, "peak memory, MiB", "documents as released"], rows)


def main() -> None:
    """Runs the sides in turns and prints the table, or measures one side."""
    if not _INPUT.value or not _TOKENIZER.value:
        raise UserError("Name the text with --input='books/*.txt' and the tokenizer's "
                              "folder with --tokenizer.")
    if _SIDE.value:
        print(json.dumps(measure_here(_SIDE.value)))
        return
    report.check_sides(_SIDES.value, _ALL_SIDES)
    arguments = [f"--input={_INPUT.value}", f"--tokenizer={_TOKENIZER.value}",
                 f"--cold_megabytes={_COLD.value}", f"--warm_megabytes={_WARM.value}"]
    results = report.alternate(_SIDES.value, _ROUNDS.value, lambda side: report.run_side(
        "benchmarks.tokenizer", arguments, side, environment={"RAYON_NUM_THREADS": "1"}))
    print(report.describe_machine(["ftfy", "spacy", "tokenizers"]))
    print(f"\nOne core, {_COLD.value:g} MB cold, then {_WARM.value:g} MB, {_ROUNDS.value} rounds\n")
    print(make_table(results))


if __name__ == "__main__":
    cli.run(main)
