"""Inputs that somebody made with an eye on the readers. Each must be refused, with one sentence.

An attack changes a folder of valid files in place. Beside the folder stands `outside`, whose files
it may point at, and which nothing may touch.
"""

from collections.abc import Callable
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import pickle
import struct
from typing import Any

import google_crc32c
import h5py
import numpy as np

from gpt_tf.data import records
from gpt_tf.data.manifest import Manifest, Shard
from gpt_tf.data.wire import frame

Attack = Callable[[pathlib.Path], None]


class _Pickled:
    """Makes a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def _json(name: str, change: Callable[[Any], Any]) -> Attack:
    def attack(folder):
        path = folder / name
        value = json.loads(path.read_bytes())
        change(value)
        path.write_text(json.dumps(value))
    return attack


def _text(name: str, text: str | bytes) -> Attack:
    def attack(folder):
        path = folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return attack


def _pipe(name: str) -> Attack:
    """A file that would be waited for."""
    def attack(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    return attack


def _shard(**values) -> Attack:
    return _json("manifest.json", lambda m: m["splits"]["train"]["shards"][0].update(values))


def _index_to(change: Callable[[np.ndarray], np.ndarray]) -> Attack:
    """Another index of the first shard, with the right checksum in the manifest."""
    def attack(folder):
        path = folder / "train-00000.index.npy"
        content = io.BytesIO()
        np.save(content, change(np.load(path)))
        path.write_bytes(content.getvalue())
        _shard(index_crc32c=google_crc32c.value(content.getvalue()))(folder)
    return attack


def _with(index: np.ndarray, field: str, row: int, value: int) -> np.ndarray:
    index = index.copy()
    index[field][row] = value
    return index


def _npy(name: str, header: str, version: bytes = b"\1\0") -> Attack:
    """A .npy file that declares what it likes and holds 64 bytes."""
    data = header.encode().ljust(118) + b"\n"
    return _text(name, b"\x93NUMPY" + version + struct.pack("<H", len(data)) + data + bytes(64))


def _piece(descr: str, shape: str) -> Attack:
    return _npy("model/params_3.npy",
                f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


def _tensors(change: Callable[[dict], None], name: str = "model/model.safetensors") -> Attack:
    """Another header of a safetensors file."""
    def attack(folder):
        data = (folder / name).read_bytes()
        size, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + size])
        change(header)
        written = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(written)) + written + data[8 + size:])
    return attack


def _link_weights(folder: pathlib.Path) -> None:
    """The weights stand in a file elsewhere, which HDF5 would open."""
    path = folder / "model.weights.h5"
    outside = folder.parent / "outside" / "weights.h5"
    path.rename(outside)
    with h5py.File(path, "w") as file, h5py.File(outside) as source:
        for name in source:
            file[name] = h5py.ExternalLink(str(outside), name)
        file["padding"] = np.zeros(1 << 16)  # as large as the weights


def _foreign_record(folder: pathlib.Path) -> None:
    """A record of another length than its index says, with the right checksums."""
    manifest = Manifest.load(folder)
    record = records.encode(np.ones((1, 4), np.int64), np.array([4]))[0]
    data = frame(record)
    (folder / "train-00000.tfrecord").write_bytes(data)
    index = np.array([(0, 4)], records.INDEX_DTYPE)
    content = io.BytesIO()
    np.save(content, index)
    (folder / "train-00000.index.npy").write_bytes(content.getvalue())
    split = manifest.splits["train"]
    shard = Shard("train-00000.tfrecord", 1, len(data),
                  google_crc32c.value(content.getvalue()), hashlib.sha256(data).hexdigest())
    changed = dataclasses.replace(split, shards=(shard, *split.shards[1:]),
                                  records=split.records - split.shards[0].records + 1)
    dataclasses.replace(manifest, splits={**manifest.splits, "train": changed}).save(folder)


_DATA = {
    "a shard above the folder": _shard(name="../outside/train-00000.tfrecord"),
    "a shard by its whole path": _shard(name="/etc/train-00000.tfrecord"),
    "a shard at home": _shard(name="~/train-00000.tfrecord"),
    "a shard of another split": _shard(name="validation-00000.tfrecord"),
    "a shard with a zero byte": _shard(name="train-00000.tfrecord\0"),
    "a shard twice": _json("manifest.json", lambda m: m["splits"]["train"]["shards"].__setitem__(
        1, m["splits"]["train"]["shards"][0])),
    "terabytes of windows": _json("manifest.json", lambda m: m.update(sequence_length=10**12)),
    "a kind that is a list": _json("manifest.json", lambda m: m.update(kind=[])),
    "more records than the index has": _json("manifest.json", lambda m: (
        m["splits"]["train"].update(records=10**9 + 3, predicted_tokens=10**10,
                                    text_bytes=10**10),
        m["splits"]["train"]["shards"][0].update(records=10**9, bytes=10**12))),
    "a record left out": _json("manifest.json", lambda m: (
        m["splits"]["train"].update(records=m["splits"]["train"]["records"] - 1),
        m["splits"]["train"]["shards"][0].update(
            records=m["splits"]["train"]["shards"][0]["records"] - 1))),
    "an index of Python objects": _index_to(lambda index: np.array([_Pickled()] * 3, object)),
    "an index that is a table": _index_to(lambda index: index[:, None]),
    "offsets beyond the file": _index_to(lambda index: _with(index, "offset", 2, 2**63 + 8)),
    "offsets that go back": _index_to(lambda index: _with(index, "offset", 1, 0)),
    "lengths of billions": _index_to(lambda index: _with(index, "length", 1, 2**32 - 1)),
    "a manifest that is a pipe": _pipe("manifest.json"),
    "a record that is no window": _foreign_record,
}
_TASK = {
    "sequences of no end": _json("manifest.json", lambda m: m["task"].update(
        num_sequences=10**15)),
    "billions of scores": _json("manifest.json", lambda m: m["task"].update(
        form="classification", num_sequences=1, labels=[], score_range=[-2**60, 2**60],
        metrics=["pearson"])),
    "a form that is not known": _json("manifest.json", lambda m: m["task"].update(form="os")),
    "a metric that is not known": _json("manifest.json", lambda m: m["task"].update(
        metrics=["__class__"])),
    "a label of several lines": _json("manifest.json", lambda m: m["task"]["labels"].__setitem__(
        0, "a\n1\tb")),
    "a name that colours": _json("manifest.json", lambda m: m["task"].update(name="\x1b[31m")),
}
_TOKENIZER = {
    "a language that is a module": _json("tokenizer_info.json", lambda t: t.update(
        language="en.tokenizer_exceptions")),
    "a language above": _json("tokenizer_info.json", lambda t: t.update(language="../../../x")),
    "a language that is a list": _json("tokenizer_info.json", lambda t: t.update(language=["en"])),
    "a vocabulary that is a pipe": _pipe("vocab.json"),
    "merges that are no text": _text("merges.txt", b"\x80\x04\x95" + pickle.dumps(_Pickled())),
    "half a character": _json("vocab.json", lambda v: v.update({"\ud800": len(v)})),
    "an id that is true": _text("vocab.json", '{"<unk>": 0, "a": true}'),
    "a name twice": _text("vocab.json", '{"<unk>": 0, "a": 1, "a": 1}'),
    "a nest": _text("vocab.json", "[" * 10**6),
    "a number of a million characters": _text("vocab.json", '{"<unk>": ' + "9" * 10**6 + "}"),
}
_RUN = {
    "petabytes of layers": _json("model.json", lambda m: m.update(num_layers=2**31 - 1)),
    "petabytes of width": _json("model.json", lambda m: m.update(hidden_dim=2**30)),
    "layers that are no whole number": _json("model.json", lambda m: m.update(num_layers=1.5)),
    "a rate that is no number": _text("model.json", '{"dropout": NaN}'),
    "a model that is a pipe": _pipe("model.json"),
    "sequences longer than positions": _json("task.json", lambda t: t.update(max_length=10**9)),
    "a task without room": _json("task.json", lambda t: t.update(max_length=1)),
}
_RELEASED = {
    "terabytes of values": _piece("'<f4'", "(1099511627776,)"),
    "more values than numbers can say": _piece("'<f4'", f"({2**62}, {2**62})"),
    "fewer than no values": _piece("'<f4'", "(-1,)"),
    "Python objects": _piece("'|O'", "(8,)"),
    "a header that calls": _piece("__import__('os').mkdir('called')", "(8,)"),
    "a header of characters": _npy("model/params_3.npy", "-" * 9000 + "1"),
    "a header of brackets": _npy("model/params_3.npy", "(" * 9000),
    "a header that is a set of lists": _npy("model/params_3.npy", "{[]: 1}"),
    "pickled": _text("model/params_3.npy", pickle.dumps(_Pickled())),
    "an archive of arrays": _text("model/params_3.npy", b"PK\3\4" + bytes(100)),
    "shapes that overflow to the right size": _json("model/params_shapes.json", lambda s: (
        s[0].__setitem__(0, 2**61), s[1].__setitem__(0, 2**61))),
    "a nest of shapes": _text("model/params_shapes.json", "[" * 5000 + "]" * 5000),
}
_HUGGINGFACE = {
    "a header of terabytes": _text("model/model.safetensors", struct.pack("<Q", 1 << 42) + b"{}"),
    "offsets of terabytes": _tensors(lambda h: next(iter(
        value for name, value in h.items() if name != "__metadata__")).update(
            shape=[1 << 40], data_offsets=[0, 1 << 42])),
    "a type that is not known": _tensors(lambda h: next(iter(
        value for name, value in h.items() if name != "__metadata__")).update(dtype="F8_E5M2")),
    "a mask of no values, as wide as the world": _tensors(lambda h: h.update({
        "transformer.h.0.attn.bias": {"dtype": "F32", "shape": [0, 0, 0, 10**9],
                                      "data_offsets": [0, 0]}})),
    "a config of petabytes": _json("model/config.json", lambda c: c.update(n_embd=2**30)),
    "a number beyond floats": _text("model/config.json", '{"model_type": "openai-gpt", '
                                    '"resid_pdrop": 1' + "0" * 400 + "}"),
    "what was kept, with a nest": _tensors(lambda h: h["__metadata__"].update(
        gpt_tf="[" * 10**5), "model/gpt_tf.safetensors"),
}
_PRESET = {
    "a class of Python's": _json("config.json", lambda c: c.update(
        module="os", class_name="system", registered_name="os>system", config={})),
    "a layer that is code": _json("task.json", lambda c: c["config"]["backbone"].update(
        module="keras.layers", class_name="Lambda", registered_name=None, config={})),
    "a backbone of petabytes": _json("config.json", lambda c: c["config"].update(
        hidden_dim=2**30)),
    "a task's backbone of petabytes": _json("task.json", lambda c: c["config"]["backbone"][
        "config"].update(hidden_dim=2**30)),
    "classes without end": _json("task.json", lambda c: c["config"].update(num_classes=10**12)),
    "weights in another file": _link_weights,
}
_SPEC = {
    "billions of scores": _json("spec.json", lambda s: (
        s.pop("labels"), s.update(score_range=[0, 10**12], metrics=["pearson"]))),
    "a column that is a path": _json("spec.json", lambda s: s["fields"].update(
        premise="../../outside/secret.txt")),
    "a label of several lines": _json("spec.json", lambda s: s.update(labels=["a\tb", "c\nd"])),
    "a form that is a list": _json("spec.json", lambda s: s.update(form=["entailment"])),
    "a name of a million characters": _json("spec.json", lambda s: s.update(name="x" * 10**6)),
}
# Target -> attack by name.
ATTACKS: dict[str, dict[str, Attack]] = {
    "manifest_corpus": _DATA, "manifest_task": _TASK, "tokenizer_huggingface": _TOKENIZER,
    "run_descriptions": _RUN, "convert_openai": _RELEASED,
    "convert_huggingface": _HUGGINGFACE, "keras_preset": _PRESET, "task_spec": _SPEC,
    "predict_jsonl": {"a nest": _text("choices.jsonl", '{"context": ' + "[" * 10**6),
                      "a number": _text("choices.jsonl", "9" * 10**5)},
    "corpus_rows": {"a nest": _text("rows.jsonl", "[" * 10**6),
                    "a number": _text("rows.jsonl", '{"text": ' + "9" * 10**5 + "}")},
    "run_metrics": {"a nest": _text("metrics.jsonl", "[" * 10**6 + "\n"),
                    "no step": _text("metrics.jsonl", '{"step": "1"}\n')},
    "flagfile": {"no text": _text("run.flags", b"--num_layers=\xff\xfe\n"),
                 "epochs without end": _text("run.flags", "--num_epochs=inf\n"),
                 "updates without end": _text("run.flags", f"--num_steps={10**30}\n")},
    "published_mrpc": {"no column of the list": _text(
        "msr_paraphrase_train.txt", "Quality\t#1 String\t#2 String\n1\ta\tb\n")},
    "published_rte": {"a column twice": _text(
        "train.tsv", "index\tsentence1\tsentence1\tsentence2\tlabel\n0\ta\tb\tc\tentailment\n")},
}
