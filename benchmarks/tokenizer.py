"""Speed of the tokenizer on one core, against the released path and Hugging Face's `tokenizers`.

  python -m benchmarks.tokenizer --input='books/*.txt' --tokenizer=bpe

Each side runs in a fresh process on the same text: "cold" is its first megabytes, with nothing
remembered and its libraries just loaded; "new text" is what follows; "again" is the latter once
more. MB are 10^6 bytes of UTF-8. Beside the paper's tokenizer, `tokenizers` splits words as BERT
does: its ids are not the paper's, and the table says how many documents come out the same. Beside
one of GPT-2's kind it does what ours does, without the released path.
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
from gpt_tf.tokenizer import Tokenizer, files

# Kind of tokenizer -> sides, ours first; the last but ours says which ids are right.
_ALL_SIDES = {"gpt1": ["ours", "tokenizers", "released"], "byte_level": ["ours", "tokenizers"]}

_INPUT = flags.DEFINE_string("input", None, "Glob of UTF-8 text files.")
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "Folder of a tokenizer, of either kind.")
_COLD = flags.DEFINE_float("cold_megabytes", 5, "Text of the cold measure.")
_WARM = flags.DEFINE_float("warm_megabytes", 15, "New text after it.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SIDES = flags.DEFINE_list("sides", None, "Which sides take part, ours first; else all.")
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")

_PHASES = ("cold", "new text", "again")


def make_encoder(name: str, folder: str) -> Callable[[str], object]:
    """text -> ids, of one side."""
    if name == "ours":
        return Tokenizer.load(folder).encode_array
    paths = map(str, files.find(folder))
    if name == "released":
        return encoders.ReleasedEncoder.from_files(*paths).encode
    make = (encoders.byte_level_encoder if Tokenizer.load(folder).kind == "byte_level"
            else encoders.bert_split_encoder)
    encoder = make(*paths)
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


def make_table(results: dict[str, list[dict]], right: str) -> str:
    """A row for each side, phase-wise ratios of the first side over it, and how many documents have
    the ids of the side `right`."""
    first = next(iter(results))
    wanted = results[right][0]["digests"] if right in results else []
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
    return report.markdown_table([*header, "peak memory, MiB", f"documents as {right}"], rows)


def main() -> None:
    """Runs the sides in turns and prints the table, or measures one side."""
    if not _INPUT.value or not _TOKENIZER.value:
        raise UserError("Name the text with --input='books/*.txt' and the tokenizer's "
                              "folder with --tokenizer.")
    if _SIDE.value:
        print(json.dumps(measure_here(_SIDE.value)))
        return
    all_sides = _ALL_SIDES[Tokenizer.load(_TOKENIZER.value).kind]
    sides = _SIDES.value or all_sides
    report.check_sides(sides, all_sides)
    arguments = [f"--input={_INPUT.value}", f"--tokenizer={_TOKENIZER.value}",
                 f"--cold_megabytes={_COLD.value}", f"--warm_megabytes={_WARM.value}"]
    results = report.alternate(sides, _ROUNDS.value, lambda side: report.run_side(
        "benchmarks.tokenizer", arguments, side, environment={"RAYON_NUM_THREADS": "1"}))
    print(report.describe_machine(["ftfy", "spacy", "tokenizers"]))
    print(f"\nOne core, {_COLD.value:g} MB cold, then {_WARM.value:g} MB, {_ROUNDS.value} rounds\n")
    print(make_table(results, all_sides[-1]))


if __name__ == "__main__":
    cli.run(main)
