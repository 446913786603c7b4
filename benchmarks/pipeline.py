"""Raw books to TFRecords: the whole command, against straight scripts that do the same.

  python -m benchmarks.pipeline --input='books/*.txt' --tokenizer=bpe
  python -m benchmarks.pipeline --input='books/*.txt' --tokenizer=bpe --sides=ours,beam \\
      --shard_megabytes=4

"ours" is `python -m pipelines.build_corpus` from its start to its end, interpreter and imports
included; "beam" is the same with Beam's DirectRunner and a process on each core, between which only
whole shards are shared out. The others are single scripts as one would write them straight: read,
encode, cut into windows, write `tf.train.Example`. They get a smaller slice of the text,
and their imports are left out of their time. MB are 10^6 bytes of UTF-8. Memory is the peak over
time of the sum over all processes: resident (RSS), and with shared pages counted once (PSS).
"""

from collections.abc import Callable, Iterator
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import encoders, report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import files

_ALL_SIDES = ["ours", "beam", "released", "tokenizers"]
_BUILDS = {"ours": [], "beam": ["--runner=DirectRunner", f"--direct_num_workers={os.cpu_count()}",
                                "--direct_running_mode=multi_processing"]}

_INPUT = flags.DEFINE_string("input", None, "Glob of UTF-8 text files.")
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "Folder of the published layout.")
_LENGTH = flags.DEFINE_integer("sequence_length", 512, "Tokens of a window.")
_SLICE = flags.DEFINE_float("slice_megabytes", 8, "Text that the straight scripts get.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SHARD = flags.DEFINE_float("shard_megabytes", 64, "Of ours and beam.")
_SIDES = flags.DEFINE_list("sides", ["ours", "released", "tokenizers"],
                           "Which sides take part, ours first.")
_SIDE = flags.DEFINE_string("side", None, "Run this one straight script here and print JSON.")

# A look at half a gigabyte costs its process some 7 ms.
_SECONDS_BETWEEN_SAMPLES = 0.25


def descendants(pid: int) -> Iterator[int]:
    """`pid` and all processes it started, and they, that are alive."""
    yield pid
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path, encoding="ascii") as stream:
                children = stream.read().split()
        except OSError:  # the thread has ended
            continue
        for child in children:
            yield from descendants(int(child))


def memory_mib(pid: int) -> dict[str, float]:
    """"Rss" and "Pss" of `pid` and its descendants now, in MiB."""
    total = {"Rss": 0.0, "Pss": 0.0}
    for each in descendants(pid):
        try:
            with open(f"/proc/{each}/smaps_rollup", encoding="ascii") as stream:
                for line in stream:
                    name = line.split(":")[0]
                    if name in total:
                        total[name] += int(line.split()[1]) / 1024
        except OSError:  # the process has ended
            continue
    return total


def run_watched(command: list[str], environment: dict[str, str]) -> dict:
    """Runs `command`; its wall time, its peak memory, and its last line of output.

    Raises:
      RuntimeError: it failed.
    """
    start = time.perf_counter()
    peaks = {"Rss": 0.0, "Pss": 0.0}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=output, stderr=errors,
                              env=os.environ | environment) as process:
            while process.poll() is None:
                now = memory_mib(process.pid)
                peaks = {name: max(peaks[name], now[name]) for name in peaks}
                time.sleep(_SECONDS_BETWEEN_SAMPLES)
        seconds = time.perf_counter() - start
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{errors.read()[-3000:]}")
        output.seek(0)
        lines = output.read().strip().splitlines()
    return {"seconds": seconds, "peak_rss_mib": peaks["Rss"], "peak_pss_mib": peaks["Pss"],
            "last_line": lines[-1] if lines else ""}


def straight_encoder(name: str) -> Callable[[str], list[int]]:
    """text -> ids of one straight script."""
    paths = map(str, files.find(_TOKENIZER.value))
    if name == "released":
        return encoders.ReleasedEncoder.from_files(*paths).encode
    encoder = encoders.bert_split_encoder(*paths)

    def encode(text: str) -> list[int]:
        # A batch of paragraphs, so that all cores take part.
        encoded = encoder.encode_batch_fast(text.split("\n\n"))
        return [token for paragraph in encoded for token in paragraph.ids]

    return encode


def run_straight(name: str, path: str) -> dict:
    """Writes the slice as TFRecords at `path`; returns its megabytes and the seconds taken."""
    import tensorflow as tf
    documents = encoders.read_documents(_INPUT.value, 0, int(_SLICE.value * 1e6))
    encode = straight_encoder(name)
    start = time.perf_counter()
    length = _LENGTH.value
    with tf.io.TFRecordWriter(path) as records:
        for document in documents:
            ids = encode(document)
            for first in range(0, len(ids), length):
                window = tf.train.Int64List(value=ids[first:first + length])
                records.write(tf.train.Example(features=tf.train.Features(feature={
                    "token_ids": tf.train.Feature(int64_list=window)})).SerializeToString())
    seconds = time.perf_counter() - start
    size = sum(len(document.encode()) for document in documents)
    return {"megabytes": size / 1e6, "seconds": seconds}


def measure(name: str) -> dict:
    """Runs one side in fresh processes: MB/s, seconds and peak memory."""
    shared = [f"--input={_INPUT.value}", f"--tokenizer={_TOKENIZER.value}",
              f"--sequence_length={_LENGTH.value}"]
    with tempfile.TemporaryDirectory() as folder:
        if name in _BUILDS:
            size = sum(os.path.getsize(path) for path in glob.glob(_INPUT.value)) / 1e6
            watched = run_watched([sys.executable, "-m", "pipelines.build_corpus", *shared,
                                   f"--shard_megabytes={_SHARD.value}", *_BUILDS[name],
                                   f"--output_dir={folder}/data"], {})
            return watched | {"megabytes_per_second": size / watched["seconds"]}
        watched = run_watched(
            [sys.executable, "-m", "benchmarks.pipeline", *shared, f"--side={name}",
             f"--slice_megabytes={_SLICE.value}"],
            {"TMPDIR": folder, "TF_CPP_MIN_LOG_LEVEL": "2"})
        inside = json.loads(watched["last_line"])
        return watched | inside | {
            "megabytes_per_second": inside["megabytes"] / inside["seconds"]}


def make_table(results: dict[str, list[dict]]) -> str:
    """A row for each side."""
    rates = {side: [run["megabytes_per_second"] for run in runs] for side, runs in results.items()}
    first = next(iter(rates))
    rows = [[side, f"{statistics.median(rates[side]):.2f}",
             report.ratio(rates[first], rates[side]),
             f"{statistics.median(run['seconds'] for run in runs):.1f}",
             f"{max(run['peak_rss_mib'] for run in runs):.0f}",
             f"{max(run['peak_pss_mib'] for run in runs):.0f}"]
            for side, runs in results.items()]
    return report.markdown_table(["side", "MB/s (median)", f"{first} / side (range)", "seconds",
                                  "peak RSS, MiB", "peak PSS, MiB"], rows)


def main() -> None:
    """Runs the sides in turns and prints the table, or runs one straight script."""
    if not _INPUT.value or not _TOKENIZER.value:
        raise UserError("Name the text with --input='books/*.txt' and the tokenizer's "
                              "folder with --tokenizer.")
    if _SIDE.value:
        with tempfile.NamedTemporaryFile() as stream:
            print(json.dumps(run_straight(_SIDE.value, stream.name)))
        return
    report.check_sides(_SIDES.value, _ALL_SIDES)
    results = report.alternate(_SIDES.value, _ROUNDS.value, measure)
    print(report.describe_machine(["tensorflow", "ftfy", "spacy", "tokenizers"]))
    print(f"\nours, beam: all of the text; the others: {_SLICE.value:g} MB of it; "
          f"{_ROUNDS.value} rounds\n")
    print(make_table(results))


if __name__ == "__main__":
    cli.run(main)
