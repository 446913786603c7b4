"""Runs and folders of the published layouts, made here or by hand, for tests of converting."""

import dataclasses
import json
import pathlib

import numpy as np
import safetensors.numpy

from gpt_tf.common.small_files import SUMS, write_json
from gpt_tf.config import ModelConfig
from gpt_tf.interop import conversion
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints

# L, H, D, F, T: the last is none of Hugging Face's.
SHAPES = [(1, 1, 4, 16, 8), (2, 3, 12, 48, 24), (3, 2, 8, 32, 5), (2, 2, 8, 20, 24)]
LAYOUTS = ["openai", "huggingface"]
# As the released program creates them: a block's arrays, and their shapes in D and F.
BLOCK = {"attn/c_attn/w": (1, "D", "3D"), "attn/c_attn/b": ("3D",), "attn/c_proj/w": (1, "D", "D"),
         "attn/c_proj/b": ("D",), "ln_1/g": ("D",), "ln_1/b": ("D",), "mlp/c_fc/w": (1, "D", "F"),
         "mlp/c_fc/b": ("F",), "mlp/c_proj/w": (1, "F", "D"), "mlp/c_proj/b": ("D",),
         "ln_2/g": ("D",), "ln_2/b": ("D",)}


def make_config(tokenizer, shape=SHAPES[1], **values):
    layers, heads, width, inner, positions = shape
    return ModelConfig(vocabulary_size=tokenizer.vocabulary_size, num_layers=layers,
                       num_heads=heads, hidden_dim=width, intermediate_dim=inner,
                       max_sequence_length=positions, **values)


def make_run(folder, tokenizer, shape=SHAPES[1], task=None, **values):
    """A run folder of random weights, biases and gains too, as a training command leaves it."""
    values = dict(dropout=0.25, attention_dropout=0.0, layer_norm_epsilon=1e-6,
                  initializer_range=0.3) | values
    config = make_config(tokenizer, shape, num_special_tokens=3 if task else 0, **values)
    model = TaskModel(config, task, seed=5) if task else GPT(config, seed=5)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape).astype(np.float32))
    folder.mkdir(parents=True)
    write_json(folder / "model.json", dataclasses.asdict(config))
    if task:
        write_json(folder / "task.json", {"task": task.to_json(),
                                          "max_length": min(20, config.max_sequence_length)})
    tokenizer.save(folder)
    save = run_folder.best_folder if task else run_folder.checkpoint_folder
    Checkpoints(save(str(folder)), {"model": weights.model_variables(model)}).save(41)
    (folder / ("finetune.flags" if task else "pretrain.flags")).write_text("--seed=5\n")
    return str(folder)


def weights_of(folder):
    """Name -> value of everything that is restored, and the update."""
    if run_folder.is_fine_tuned(folder):
        model, _, step = weights.load_task_model(folder)
    else:
        model, step = weights.load_model(folder)
    return {variable.path: variable.numpy() for variable in model.trainable_variables}, step


def assert_same_run(one, two):
    for name in ("model.json", "task.json", "tokenizer_info.json"):
        paths = [pathlib.Path(folder, name) for folder in (one, two)]
        assert paths[0].exists() == paths[1].exists()
        assert not paths[0].exists() or paths[0].read_bytes() == paths[1].read_bytes()
    (first, step), (second, other_step) = weights_of(one), weights_of(two)
    assert step == other_step and first.keys() == second.keys()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


def released_arrays(vocabulary_size, shape, seed=0):
    """[(name, array)] in the order of the released files, by hand."""
    layers, _, width, inner, positions = shape
    sizes = {1: 1, "D": width, "3D": 3 * width, "F": inner}
    rng = np.random.default_rng(seed)
    shapes = [("positions", (positions, width)), ("tokens", (vocabulary_size, width))]
    shapes += [(f"h{index}/{name}", tuple(sizes[size] for size in sizes_of))
               for index in range(layers) for name, sizes_of in BLOCK.items()]
    return [(name, rng.normal(0, 0.3, size).astype(np.float32)) for name, size in shapes]


def write_released(folder, tokenizer, shape=SHAPES[1], seed=0):
    """The released folder, its pieces cut anywhere; returns the arrays by name."""
    arrays = released_arrays(tokenizer.vocabulary_size, shape, seed)
    flat = np.concatenate([array.ravel() for _, array in arrays])
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(flat) + 1, 9))
    folder.mkdir(parents=True)
    for index, piece in enumerate(np.split(flat, cuts)):
        np.save(folder / f"params_{index}.npy", piece)
    (folder / "params_shapes.json").write_text(json.dumps([a.shape for _, a in arrays]))
    tokenizer.save(folder)
    (folder / "tokenizer_info.json").unlink()  # the published folder has none
    return dict(arrays)


def read_released(folder):
    pieces = [np.load(folder / f"params_{index}.npy") for index in range(10)]
    return np.concatenate(pieces), json.loads((folder / "params_shapes.json").read_text())


def to_run(layout, source, target, num_heads=None):
    return conversion.import_run(layout, str(source), str(target), num_heads, "--from=x\n")


def from_run(layout, source, target):
    return conversion.export_run(layout, str(source), str(target))


def damage_json(path, change):
    """As somebody does who accepts what was changed."""
    (path.parent / SUMS).unlink(missing_ok=True)
    value = json.loads(path.read_text())
    value = change(value) or value
    path.write_text(json.dumps(value))


def change_weights(folder, change, name="model.safetensors", metadata=None):
    arrays = safetensors.numpy.load_file(folder / name)
    arrays = change(arrays) or arrays
    safetensors.numpy.save_file(arrays, folder / name, metadata)
