"""Commands on tiny files, to be disturbed by `tests.faults`, and what must be true of each then.

Runs in a process of `faults.run_with_faults`.
"""

import dataclasses
import io
import json
import pathlib
import re
import shutil

import h5py
from tensorflow.core.protobuf import saved_model_pb2

from tests import converted, corpora, fuzz_seeds, task_data
from tests.commands import Done
from tests.faults import KILL, Ended, Fault, Injector

_LEFT = re.compile(r"\.(part|old)-\d{10,}")  # what could not be removed: the next start does
_TASK = task_data.TASKS["classification"]
_RUN_SHAPE = (1, 2, 8, 32, task_data.MAX_LENGTH)  # layers, heads, widths, positions
# Checksums, the date in metadata.json, and names.
_NUMBERS = re.compile(rb"[0-9a-f]{64}|\d+-\d+-\d+@\d+:\d+:\d+|_\d+(?=\")")
_TIMES = ("train/tokens_per_second", "train/input_wait")

_TRAINING = ("--batch_size=4", "--num_steps=2", "--save_every=1", "--log_every=1",
             "--nojit_compile", "--learning_rate=0.01", "--keep_checkpoints=1")
_SHAPE = ("--num_layers=1", "--num_heads=2", "--hidden_dim=8", "--intermediate_dim=16")
_TEXT = "The cat sat, and the dog ran.\n\nThen in the end they saw it's 42 things.\n"


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, and what it writes.

    Args:
      module: what `python -m` takes.
      flags: its flags; `{}` in them is the folder of all its files.
      inputs: what stands in that folder before, by the names of `_INPUTS`.
      outputs: files and folders that it makes there, or changes.
      over: flags with which it was run before, in the same place; none: nothing stands there.
      kept: whether the outputs are the old ones or the new ones at any time.
    """

    module: str
    flags: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("out",)
    over: tuple[str, ...] | None = None
    kept: bool = False


_PRETRAIN = ("--data_dir={}/data", "--model_dir={}/out", *_SHAPE, *_TRAINING,
             "--max_sequence_length=16", "--evaluate_every=1")
_CORPUS = ("--input={}/texts/*.txt", "--tokenizer={}/bpe", "--output_dir={}/out",
           "--num_workers=1", "--validation_fraction=0.4")
_BPE = ("--input={}/texts/*.txt", "--output_dir={}/out", "--num_workers=1", "--overwrite")
COMMANDS = {
    "pretrain": Command("gpt_tf.pretrain", _PRETRAIN, ("data",)),
    "finetune": Command("gpt_tf.finetune", (
        "--data_dir={}/task", "--init_from={}/run", "--model_dir={}/out", *_TRAINING,
        "--evaluations_per_epoch=2"), ("task", "run")),
    "build_corpus": Command("pipelines.build_corpus", (
        *_CORPUS, "--sequence_length=16", "--shard_megabytes=0.001"), ("texts", "bpe")),
    "build_corpus_over": Command("pipelines.build_corpus", (
        *_CORPUS, "--sequence_length=16", "--overwrite"), ("texts", "bpe"),
        over=(*_CORPUS, "--sequence_length=12")),
    "build_task": Command("pipelines.build_task", (
        "--task={}/rows/spec.json", "--input={}/rows", "--tokenizer={}/bpe",
        "--output_dir={}/out", "--num_workers=1", "--max_length=64"), ("rows", "bpe")),
    "train_bpe": Command("pipelines.train_bpe", (*_BPE, "--num_merges=9"), ("texts",),
                         over=(*_BPE, "--num_merges=5"), kept=True),
    "convert_from": Command("gpt_tf.convert", (
        "--from=huggingface", "--input={}/huggingface/model", "--output_dir={}/out",
        "--overwrite"), ("huggingface",)),
    "convert_to": Command("gpt_tf.convert", (
        "--to=huggingface", "--input={}/run", "--output_dir={}/out", "--overwrite"),
        ("run", "tuned"),
        over=("--to=huggingface", "--input={}/tuned", "--output_dir={}/out"), kept=True),
    "export": Command("gpt_tf.export", (
        "--model_dir={}/run", "--output_dir={}/out", "--version=1", "--overwrite"), ("run",)),
    "export_preset": Command("gpt_tf.export", (
        "--format=preset", "--model_dir={}/tuned", "--output_dir={}/out", "--overwrite"),
        ("tuned", "run"), over=("--format=preset", "--model_dir={}/tuned", "--output_dir={}/out"),
        kept=True),
    "predict": Command("gpt_tf.predict", (
        "--model_dir={}/tuned", "--input={}/texts/1.txt", "--on_blank_line=skip",
        "--output={}/out"), ("tuned", "texts"),
        over=("--model_dir={}/tuned", "--input={}/texts/2.txt", "--on_blank_line=skip",
              "--output={}/out"), kept=True),
    "evaluate": Command("gpt_tf.evaluate", (
        "--model_dir={}/tuned", "--data_dir={}/task", "--predictions={}/out"),
        ("tuned", "task"), outputs=("out", "tuned/evaluations")),
}


def _texts(folder: pathlib.Path) -> None:
    for number in range(4):
        (folder / f"{number}.txt").write_text(_TEXT * (number + 2))


def _task(folder: pathlib.Path) -> None:
    task_data.write(folder, fuzz_seeds.tokenizer(), _TASK, {"train": 8, "validation": 4})


def _run(folder: pathlib.Path) -> None:
    converted.make_run(folder, fuzz_seeds.tokenizer(), _RUN_SHAPE)


def _tuned(folder: pathlib.Path) -> None:
    converted.make_run(folder, fuzz_seeds.tokenizer(), _RUN_SHAPE, _TASK)


_INPUTS = {"texts": _texts, "bpe": fuzz_seeds.trained_tokenizer, "data": fuzz_seeds.corpus_data,
           "rows": fuzz_seeds.own_task, "huggingface": fuzz_seeds.huggingface_model,
           "tuned": _tuned, "run": _run, "task": _task}


def _make_inputs(folder: pathlib.Path, names: tuple[str, ...]) -> bool:
    for name in names:
        if name not in ("task", "run", "tuned"):
            (folder / name).mkdir()
        _INPUTS[name](folder / name)
    return True


class Defect(AssertionError):
    """What is not as it should be."""


class Trials:
    """Disturbs one command in a folder of its own.

    Attributes:
      counts: operations of the undisturbed command, by kind.

    Args:
      command: which.
      folder: an empty one.
    """

    def __init__(self, command: Command, folder: pathlib.Path):
        self._command = command
        self._work, self._start = folder / "work", folder / "start"
        self._work.mkdir()
        self._injector = Injector(self._work)
        assert self._injector.call(_make_inputs, self._work, command.inputs)
        if command.over:
            self._expect(self._run(command.over).done, "what stood there before")
        shutil.copytree(self._work, self._start)
        self._before = _contents(self._work)
        undisturbed = self._run(command.flags)
        self._expect(undisturbed.done, "undisturbed")
        self.counts = undisturbed.seen
        self._whole = _contents(self._work)

    def _run(self, flags: tuple[str, ...], fault: Fault | None = None) -> Ended:
        return self._injector.run(self._command.module, *(
            flag.replace("{}", str(self._work)) for flag in flags), fault=fault)

    def close(self) -> None:
        """Ends the process that runs the commands."""
        self._injector.close()

    @staticmethod
    def _expect(done: Done | None, what: str) -> None:
        if not done or done.code:
            raise Defect(f"{what}: {done and done.stderr[-2000:]}")

    def _restore(self) -> None:
        shutil.rmtree(self._work)
        shutil.copytree(self._start, self._work)

    def disturb(self, *faults: Fault) -> list[Ended]:
        """Starts the command once for each fault, and then undisturbed.

        Raises:
          Defect: something is lost, half-written, left behind, or told by a traceback.
        """
        self._restore()
        ended = [self._check(self._run(self._command.flags, fault), fault) for fault in faults]
        last = self._run(self._command.flags).done
        if "Traceback" in last.stderr:  # a code of 1 is one that had done all but tidy up
            raise Defect(f"started again, a traceback: {last.stderr[-3000:]}")
        self._compare(_contents(self._work), self._whole, f"started again ({last.stderr[-1500:]})")
        return ended

    def _check(self, ended: Ended, fault: Fault) -> Ended:
        """Sees to how a disturbed command ended, and to what it left."""
        after, done = _contents(self._work), ended.done
        if done:
            lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            if "Traceback" in done.stderr or "Exception ignored" in done.stderr:
                raise Defect(f"a traceback: {done.stderr[-3000:]}")
            if done.code not in (0, 1) or len(lines) != done.code:
                raise Defect(f"code {done.code}: {done.stderr[-2000:]}")
            if not done.code:
                found = {name: data for name, data in after.items() if not _LEFT.search(name)}
                told = {name: data for name, data in self._whole.items()
                        if name in found or str((self._work / name).parent) not in done.stderr}
                self._compare(found, told, "ended with 0")
        elif fault.error != KILL and not (fault.kind == "read" and ended.met.endswith(".index")):
            # TensorFlow dies where it cannot read an index; `Checkpoints` has read it just before.
            raise Defect("the process died")
        inputs, kept = _without(after, self._command.outputs), self._command.kept
        self._compare(inputs, _without(self._before, self._command.outputs), "an input changed")
        if kept and _only(after) not in (_only(self._before), _only(self._whole)):
            raise Defect(f"neither old nor new: {sorted(_only(after))}")
        return ended

    @staticmethod
    def _compare(found: dict[str, bytes], wanted: dict[str, bytes], what: str) -> None:
        if found != wanted:
            names = sorted(name for name in found.keys() | wanted.keys()
                           if found.get(name) != wanted.get(name))
            raise Defect(f"{what}: {', '.join(names)}")

def _is_output(name: str, outputs: tuple[str, ...]) -> bool:
    """Or a temporary file beside one."""
    return any(name == output or name.startswith((f"{output}/", f"{output}."))
               for output in outputs)


def _without(files: dict[str, bytes], outputs: tuple[str, ...]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not _is_output(name, outputs)}


def _only(files: dict[str, bytes]) -> dict[str, bytes]:
    """What has taken its name; between two renames the old one is aside."""
    new = {name: data for name, data in files.items() if name == "out" or name[:4] == "out/"}
    return new or {f"out/{name.partition('/')[2]}": data for name, data in files.items()
                   if name.startswith("out.old-")}


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
    """All files by name, without what tells times."""
    return {name: _timeless(name, data) for name, data in corpora.contents(folder).items()
            if "events.out.tfevents." not in name and not name.endswith(".lock")}


def _timeless(name: str, data: bytes) -> bytes:
    """Without times, and the numbers by which TensorFlow and Keras name things in the order in
    which a process makes them."""
    if name.endswith("metrics.jsonl"):
        rows = [json.loads(line) for line in data.splitlines()]
        return json.dumps([{key: value for key, value in row.items() if key not in _TIMES}
                           for row in rows]).encode()
    if name.endswith("saved_model.pb"):
        graph, = saved_model_pb2.SavedModel.FromString(data).meta_graphs
        return repr((sorted(graph.signature_def), len(graph.object_graph_def.nodes))).encode()
    if name.endswith(".weights.h5") and not _LEFT.search(name):
        values = []
        with h5py.File(io.BytesIO(data)) as file:
            file.visititems(lambda _, item: values.append(item[()].tobytes())
                            if isinstance(item, h5py.Dataset) else None)
        return b"".join(values)
    if b"keras" in data and name.endswith(".json") or b"preprocessor.json" in data:
        return _NUMBERS.sub(b"", data)
    return b"" if name.endswith("fingerprint.pb") else data
