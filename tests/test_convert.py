"""Weights of the published layouts in and out: nothing lost, and what is refused."""

import dataclasses
import json
import os
import pathlib
import re

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from gpt_tf import conversion, run_folder
from gpt_tf import predict as predict_command
from gpt_tf.checkpoint import Checkpoints
from gpt_tf.config import ModelConfig
from gpt_tf.files import UserError, write_json
from gpt_tf.interop import huggingface, openai
from gpt_tf.model import GPT
from gpt_tf.predict import PredictionConfig
from gpt_tf.task_model import TaskModel
from gpt_tf.tokenizer import Tokenizer
from tests import corpora, task_data
from tests.test_commands import run
from tests.test_finetuning import finetune, make_job

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
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
        write_json(folder / "task.json", {"task": dataclasses.asdict(task),
                                          "max_length": min(20, config.max_sequence_length)})
    tokenizer.save(folder)
    save = run_folder.best_folder if task else run_folder.checkpoint_folder
    Checkpoints(save(str(folder)), {"model": run_folder.model_variables(model)}).save(41)
    (folder / ("finetune.flags" if task else "pretrain.flags")).write_text("--seed=5\n")
    return str(folder)


def weights(folder):
    """Name -> value of everything that is restored, and the update."""
    if run_folder.is_fine_tuned(folder):
        model, _, step = run_folder.load_task_model(folder)
    else:
        model, step = run_folder.load_model(folder)
    return {variable.path: variable.numpy() for variable in model.trainable_variables}, step


def assert_same_run(one, two):
    for name in ("model.json", "task.json", "tokenizer_info.json"):
        paths = [pathlib.Path(folder, name) for folder in (one, two)]
        assert paths[0].exists() == paths[1].exists()
        assert not paths[0].exists() or paths[0].read_bytes() == paths[1].read_bytes()
    (first, step), (second, other_step) = weights(one), weights(two)
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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", [None, *task_data.TASKS])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_run_comes_back(tmp_path, tokenizer, shape, form, layout):
    source = make_run(tmp_path / "run", tokenizer, shape, form and task_data.TASKS[form])
    if layout == "huggingface" and shape[3] != 4 * shape[2]:
        with pytest.raises(UserError, match="inner width of 4 times .* only --to=openai"):
            from_run(layout, source, tmp_path / "out")
        assert {path.name for path in tmp_path.iterdir()} == {"run"}
        return
    told = "\n".join(from_run(layout, source, tmp_path / "out"))
    assert ("head of" in told) == bool(form) and "Adam" in told
    assert ("special tokens" in told) == (bool(form) and layout == "openai")
    to_run(layout, tmp_path / "out", tmp_path / "back")
    assert_same_run(source, str(tmp_path / "back"))
    assert (tmp_path / "back" / "convert.flags").read_text() == "--from=x\n"
    assert not {"pretrain.flags", "finetune.flags"} & set(os.listdir(tmp_path / "back"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_released_folder_there_and_back(tmp_path, tokenizer, shape, seed):
    """Each array lands where its name says, and the vector comes back bit for bit."""
    arrays = write_released(tmp_path / "model", tokenizer, shape, seed)
    notes = to_run("openai", tmp_path / "model", tmp_path / "run", num_heads=shape[1])
    assert any(f"{shape[1]} heads" in note for note in notes)
    model, step = run_folder.load_model(str(tmp_path / "run"))
    assert model.config == make_config(tokenizer, shape) and step == 0
    np.testing.assert_array_equal(model.embedding.token.embeddings, arrays["tokens"])
    np.testing.assert_array_equal(model.embedding.position.embeddings, arrays["positions"])
    for index, block in enumerate(model.blocks):
        attention, inner = block.attention, block.feed_forward
        query, key, value = np.split(arrays[f"h{index}/attn/c_attn/w"][0], 3, axis=1)
        biases = np.split(arrays[f"h{index}/attn/c_attn/b"], 3)
        for layer, kernel, bias in (
                (attention.query, query, biases[0]), (attention.key, key, biases[1]),
                (attention.value, value, biases[2]),
                *((layer, arrays[f"h{index}/{name}/w"][0], arrays[f"h{index}/{name}/b"])
                  for layer, name in ((attention.output_projection, "attn/c_proj"),
                                      (inner.intermediate, "mlp/c_fc"),
                                      (inner.output_projection, "mlp/c_proj")))):
            np.testing.assert_array_equal(layer.kernel, kernel)
            np.testing.assert_array_equal(layer.bias, bias)
        for norm, name in ((block.attention_norm, "ln_1"), (block.feed_forward_norm, "ln_2")):
            np.testing.assert_array_equal(norm.gamma, arrays[f"h{index}/{name}/g"])
            np.testing.assert_array_equal(norm.beta, arrays[f"h{index}/{name}/b"])
    from_run("openai", tmp_path / "run", tmp_path / "out")
    (flat, shapes), (back, back_shapes) = map(read_released, (tmp_path / "model", tmp_path / "out"))
    assert flat.tobytes() == back.tobytes() and shapes == back_shapes
    published = ("encoder_bpe_5.json", "vocab_5.bpe")
    assert all((tmp_path / "model" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
               for name in published)


def test_the_published_size(tmp_path):
    """A folder of exactly the published shapes: 116,534,784 values, there and back."""
    paper = ModelConfig()
    tokens = ["<unk>", *(f"t{index}</w>" for index in range(paper.vocabulary_size - 2)), "\n</w>"]
    tokenizer = Tokenizer({token: index for index, token in enumerate(tokens)}, [])
    arrays = write_released(tmp_path / "model", tokenizer, (
        paper.num_layers, paper.num_heads, paper.hidden_dim, paper.intermediate_dim,
        paper.max_sequence_length))
    told = to_run("openai", tmp_path / "model", tmp_path / "run")
    assert "116,534,784 parameters, 12 layers, 12 heads, 40,478 tokens" in told[0]
    assert run_folder.load_config(str(tmp_path / "run")) == paper
    from_run("openai", tmp_path / "run", tmp_path / "out")
    flat, shapes = read_released(tmp_path / "out")
    assert shapes[:4] == [[512, 768], [40478, 768], [1, 768, 2304], [2304]] and len(shapes) == 146
    np.testing.assert_array_equal(flat, np.concatenate([each.ravel() for each in arrays.values()]))


def test_the_published_models_heads(tmp_path, tokenizer):
    write_released(tmp_path / "model", tokenizer, (1, 12, 24, 96, 8))
    to_run("openai", tmp_path / "model", tmp_path / "run")
    assert run_folder.load_config(str(tmp_path / "run")).num_heads == 12


@pytest.mark.parametrize("form", task_data.TASKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_fine_tuned_runs_answer_the_same(tmp_path, tokenizer, form, layout, capsys):
    task = task_data.TASKS[form]
    source = make_run(tmp_path / "run", tokenizer, task=task)
    from_run(layout, source, tmp_path / "out")
    to_run(layout, tmp_path / "out", tmp_path / "back")
    texts = {"classification": "the end.\nand then\nin\n", "scores": "the\tand\nin it\tthen\n",
             "multiple_choice": "the\t\tand\tthen\tin\nan\t42\tend\tin\tthen\n"}[form]
    (tmp_path / "rows.tsv").write_text(texts)
    answers = []
    for folder in ("run", "back"):
        predict_command.predict(PredictionConfig(input=str(tmp_path / "rows.tsv"),
                                                 probabilities=True), str(tmp_path / folder))
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and len(answers[0].splitlines()) == texts.count("\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command(tmp_path, tokenizer, layout):
    """As users type it."""
    source = make_run(tmp_path / "run", tokenizer)
    out, _ = run("gpt_tf.convert", f"--to={layout}", f"--input={source}",
                 f"--output_dir={tmp_path}/out")
    assert "gpt_tf.safetensors" in out and "the update, 41" in out
    out, _ = run("gpt_tf.convert", f"--from={layout}", f"--input={tmp_path}/out",
                 f"--output_dir={tmp_path}/back")
    assert f"python -m gpt_tf.generate --model_dir={tmp_path}/back" in out and "update 41" in out
    assert_same_run(source, f"{tmp_path}/back")
    text = (tmp_path / "back" / "convert.flags").read_text()
    assert f"--from={layout}\n" in text and f"--input={tmp_path}/out\n" in text


def test_a_converted_run_is_started_from_and_not_trained_on(tmp_path, tokenizer):
    write_released(tmp_path / "model", tokenizer)
    to_run("openai", tmp_path / "model", tmp_path / "run", num_heads=3)
    before, _ = weights(str(tmp_path / "run"))
    data = task_data.write(str(tmp_path / "data"), tokenizer, task_data.TASKS["classification"])
    shape = make_config(tokenizer, num_special_tokens=3)
    values = dict(init_from=str(tmp_path / "run"), model=shape, training={"num_steps": 2})
    with pytest.raises(UserError, match="holds converted weights, .* --init_from=.*/run and an"):
        finetune(make_job(tmp_path / "run", data, tokenizer, **values))
    after, _ = weights(str(tmp_path / "run"))
    assert all((after[name] == value).all() for name, value in before.items())
    assert finetune(make_job(tmp_path / "tuned", data, tokenizer, **values)).total == 2
    # What the refused training leaves does not keep the folder from being replaced.
    conversion.check_target(str(tmp_path / "run"), str(tmp_path / "model"), None, True)
    to_run("openai", tmp_path / "model", tmp_path / "run", num_heads=3)
    out, _ = run("gpt_tf.generate", f"--model_dir={tmp_path}/run", "--prompt=then",
                 "--max_new_tokens=4")
    assert out.startswith("then")


@pytest.mark.parametrize("flags, message", [
    ([], "Give --from .* or --to"), (["--from=openai", "--to=openai"], "Give --from .* or --to"),
    (["--to=openai", "--num_heads=2"], "--num_heads goes with --from=openai"),
    (["--to=openai"], "No model.json in .*: it is not a run folder")], ids=str)
def test_flags_that_do_not_fit(tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    error = run("gpt_tf.convert", f"--input={tmp_path}/empty", f"--output_dir={tmp_path}/out",
                *flags, code=1)[1]
    assert re.search(message, error), error
    assert os.listdir(tmp_path) == ["empty"]


def test_targets_that_are_not_replaced(tmp_path, tokenizer):
    source = make_run(tmp_path / "a" / "run", tokenizer)
    from_run("huggingface", source, tmp_path / "out")
    downloaded = tmp_path / "downloaded"
    from_run("huggingface", source, downloaded)
    (downloaded / "gpt_tf.safetensors").unlink()  # as others made it
    (tmp_path / "new").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    check = conversion.check_target
    check(str(tmp_path / "new"), source, None, False)
    check(str(tmp_path / "nowhere" / "new"), source, "openai", False)
    check(str(tmp_path / "out"), source, "huggingface", True)
    for target, layout, match in ((tmp_path / "out", "openai", "holds other files"),
                                  (downloaded, "huggingface", "holds other files"),
                                  (tmp_path / "link", "huggingface", "no folder of its own"),
                                  (tmp_path / "file", "huggingface", "no folder of its own"),
                                  (source, None, "is or holds --input"),
                                  (tmp_path / "a", None, "is or holds --input")):
        with pytest.raises(UserError, match=match):
            check(str(target), source, layout, True)
    other = make_run(tmp_path / "trained", tokenizer)
    with pytest.raises(UserError, match="holds other files, such as"):
        check(other, str(tmp_path / "out"), None, True)


def test_a_failure_leaves_nothing(tmp_path, tokenizer, monkeypatch):
    """Not a half folder, and an earlier one as it was."""
    source = make_run(tmp_path / "run", tokenizer)
    from_run("openai", source, tmp_path / "out")
    before = corpora.contents(tmp_path / "out")

    def fail(*_):
        raise UserError("no space")

    monkeypatch.setattr(conversion.Kept, "save", fail)
    for target in ("out", "other"):
        with pytest.raises(UserError, match="no space"):
            from_run("openai", source, tmp_path / target)
    assert sorted(os.listdir(tmp_path)) == ["out", "run"]
    assert corpora.contents(tmp_path / "out") == before


def damage_json(path, change):
    value = json.loads(path.read_text())
    value = change(value) or value
    path.write_text(json.dumps(value))


def cut(path, part=0.5):
    os.truncate(path, int(path.stat().st_size * part))


def swap(folder, source):
    np.save(folder / "params_3.npy", np.load(folder / "params_3.npy").astype(source))


@pytest.mark.parametrize("damage, message", [
    (lambda f: (f / "params_shapes.json").unlink(), "Cannot read .*params_shapes.json"),
    (lambda f: (f / "params_shapes.json").write_text("[[2, 0]]"), "shapes.json is not a list of"),
    (lambda f: (f / "params_shapes.json").write_text("{"), "shapes.json .* not valid JSON"),
    (lambda f: damage_json(f / "params_shapes.json", lambda s: s[:-1]), "has 25 shapes; .* 12 arr"),
    (lambda f: damage_json(f / "params_shapes.json", lambda s: s[2:4] + s[2:]),
     "does not begin with two tables"),
    (lambda f: (f / "params_4.npy").unlink(), "Cannot read the piece .*params_4.npy: No such"),
    (lambda f: np.save(f / "params_10.npy", np.zeros(3, np.float32)), "params_10.npy, which is no"),
    (lambda f: cut(f / "params_2.npy"), "params_2.npy is cut short"),
    (lambda f: cut(f / "params_2.npy", 0), "params_2.npy is cut short"),
    (lambda f: (f / "params_5.npy").write_bytes((f / "params_5.npy").read_bytes() + b"x"),
     "params_5.npy .* which is not what its header declares: take"),
    (lambda f: np.save(f / "params_1.npy", np.array([{}], object), allow_pickle=True),
     "params_1.npy .* holds object of shape .1,. and not one flat float32 vector"),
    (lambda f: swap(f, np.float64), "params_3.npy .* holds float64 .* not one flat float32 vec"),
    (lambda f: np.save(f / "params_3.npy", np.zeros(3, np.float32)), "hold [0-9,]+ values and"),
    (lambda f: damage_json(f / "params_shapes.json", lambda s: [[25, 12], [94, 12], *s[2:]]),
     "has rows for 94 tokens and the vocabulary in .* has 95"),
    (lambda f: damage_json(f / "params_shapes.json", lambda s: s[3].__setitem__(
        slice(None), [6, 6])), r"c_attn/b has shape \(6, 6\); the model wants \(36,\)"),
    (lambda f: damage_json(f / "params_shapes.json", lambda s: s[2].pop(0) and None),
     r"model/h0/attn/c_attn/w has shape \(12, 36\); the model wants \(1, 12, 36\)"),
    (lambda f: next(f.glob("vocab_*")).unlink(), "Half a tokenizer in"),
    (lambda f: [path.unlink() for path in (*f.glob("vocab_*"), *f.glob("encoder*"))],
     "No tokenizer in"),
])
def test_damaged_released_folders(tmp_path, tokenizer, damage, message):
    write_released(tmp_path / "model", tokenizer)
    damage(tmp_path / "model")
    with pytest.raises(UserError, match=message) as error:
        to_run("openai", tmp_path / "model", tmp_path / "run", num_heads=3)
    assert "\n" not in str(error.value) and os.listdir(tmp_path) == ["model"]


def test_heads_that_do_not_fit(tmp_path, tokenizer):
    write_released(tmp_path / "model", tokenizer)
    with pytest.raises(UserError, match="multiple of --num_heads=5. Give the model's own"):
        to_run("openai", tmp_path / "model", tmp_path / "run", num_heads=5)
    source = make_run(tmp_path / "source", tokenizer)
    from_run("openai", source, tmp_path / "out")
    with pytest.raises(UserError, match="--num_heads=4, but the model in .*out has 3"):
        to_run("openai", tmp_path / "out", tmp_path / "run", num_heads=4)
    from_run("huggingface", source, tmp_path / "hf")
    with pytest.raises(UserError, match="config.json says how many heads"):
        to_run("huggingface", tmp_path / "hf", tmp_path / "run", num_heads=3)


def change_weights(folder, change, name="model.safetensors", metadata=None):
    arrays = safetensors.numpy.load_file(folder / name)
    arrays = change(arrays) or arrays
    safetensors.numpy.save_file(arrays, folder / name, metadata)


def config_says(**values):
    return lambda f: damage_json(f / "config.json", lambda config: config.update(values))


def renamed(old, new):
    return lambda f: change_weights(f, lambda a: a.__setitem__(new, a.pop(old)))


QUERY = "transformer.h.0.attn.c_attn.weight"


@pytest.mark.parametrize("damage, message", [
    (lambda f: (f / "config.json").unlink(), "Cannot read .*config.json"),
    (lambda f: (f / "config.json").write_text("[1]"), "config.json is not a group of named values"),
    (lambda f: (f / "model.safetensors").unlink(), "No model.safetensors in .*hf.$"),
    (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
     "No model.safetensors .*pytorch_model.bin, is not read here: load it with transformers"),
    (lambda f: cut(f / "model.safetensors"), "model.safetensors is damaged"),
    (lambda f: cut(f / "model.safetensors", 0), "model.safetensors is damaged"),
    (config_says(model_type="gpt2"), "says model_type 'gpt2' and only 'openai-gpt'"),
    (lambda f: damage_json(f / "config.json", lambda c: c.pop("model_type") and None),
     "says model_type None"),
    (config_says(afn="relu"), "says afn 'relu' and only 'gelu' is GPT-1"),
    (config_says(tie_word_embeddings=False), "says tie_word_embeddings False"),
    (config_says(n_ctx=12), "n_ctx 12 and n_positions 24"),
    (config_says(n_head=5), "config.json: .*multiple of"),
    (config_says(n_head="3"), "says n_head '3' where a whole number"),
    (config_says(resid_pdrop=None), "says resid_pdrop None where a number"),
    (config_says(resid_pdrop=1.5), "config.json: .*1.5 must be at least 0"),
    (config_says(n_layer=3), "says n_layer 3 and .*model.safetensors has 2"),
    (config_says(n_embd=24), r"says vocab_size and n_embd \(95, 24\) and .* has \(95, 12\)"),
    (config_says(vocab_size=94), r"says vocab_size and n_embd \(94, 12\)"),
    (config_says(n_positions=25), r"says n_positions and n_embd \(25, 12\)"),
    (config_says(n_special=3), "has rows for 92 tokens and the vocabulary in .* has 95"),
    (config_says(n_special=2), "has 2 rows of special tokens: there are 3 or none"),
    (renamed(QUERY, "transformer.h.0.attn.c_attn.kernel"), "lacks h.0.attn.c_attn.weight:"),
    (lambda f: change_weights(f, lambda a: {name: a[name] for name in a if "c_fc" not in name}),
     "lacks h.0.mlp.c_fc.bias and 3 more:"),
    (lambda f: change_weights(f, lambda a: a.update({"score.weight": np.zeros((2, 12), "f")})),
     "no place for: score.weight: take"),
    (lambda f: change_weights(f, lambda a: a.update({QUERY: a[QUERY].T.copy()})),
     r"c_attn.weight has shape \(36, 12\); the model wants \(12, 36\)"),
    (lambda f: change_weights(f, lambda a: a.update({QUERY: a[QUERY].astype(np.float64)})),
     "c_attn.weight is of type float64"),
    (lambda f: change_weights(f, lambda a: a.update({QUERY[12:]: a[QUERY]})),
     "holds transformer.h.0.attn.c_attn.weight with and without its prefix"),
    (lambda f: change_weights(f, lambda a: a.update({"lm_head.weight": np.zeros((95, 12), "f")})),
     "lm_head.weight is not the token table"),
    (lambda f: change_weights(f, lambda a: a.update({
        "transformer.h.0.attn.bias": np.ones((1, 1, 24, 24), "f")})), "for: h.0.attn.bias"),
    (lambda f: (f / "merges.txt").unlink(), "Half a tokenizer"),
    (lambda f: cut(f / "gpt_tf.safetensors"), "gpt_tf.safetensors is damaged"),
    (lambda f: change_weights(f, lambda a: None, "gpt_tf.safetensors"),
     "gpt_tf.safetensors is not what python -m gpt_tf.convert writes"),
    (lambda f: change_weights(f, lambda a: None, "gpt_tf.safetensors", {"gpt_tf": json.dumps({
        "layout": "openai", "settings": {}, "step": 1, "task": None, "max_length": 0})}),
     "written with --to=openai and this is --from=huggingface"),
])
def test_damaged_huggingface_folders(tmp_path, tokenizer, damage, message):
    from_run("huggingface", make_run(tmp_path / "run", tokenizer), tmp_path / "hf")
    damage(tmp_path / "hf")
    with pytest.raises(UserError, match=message) as error:
        to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    assert "\n" not in str(error.value) and sorted(os.listdir(tmp_path)) == ["hf", "run"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fine_tuned_runs_parts_belong_together(tmp_path, tokenizer, layout):
    task = task_data.TASKS["classification"]
    from_run(layout, make_run(tmp_path / "tuned", tokenizer, task=task), tmp_path / "tuned-out")
    from_run(layout, make_run(tmp_path / "run", tokenizer, SHAPES[0]), tmp_path / "out")
    (tmp_path / "tuned-out" / "gpt_tf.safetensors").rename(
        tmp_path / "out" / "gpt_tf.safetensors")
    with pytest.raises(UserError, match="take all files from one conversion"):
        to_run(layout, tmp_path / "out", tmp_path / "back")


@pytest.mark.parametrize("dtype", [np.float16, tf.bfloat16.as_numpy_dtype])
def test_narrow_numbers_are_widened(tmp_path, tokenizer, dtype):
    source = make_run(tmp_path / "run", tokenizer)
    from_run("huggingface", source, tmp_path / "hf")
    expected, _ = weights(source)
    change_weights(tmp_path / "hf", lambda arrays: {
        name: array.astype(dtype) for name, array in arrays.items()})
    told = to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    assert f"26 of 26 arrays are {np.dtype(dtype).name}" in "\n".join(told)
    for name, value in weights(str(tmp_path / "back"))[0].items():
        np.testing.assert_array_equal(value, expected[name].astype(dtype).astype(np.float32))


def test_older_folders(tmp_path, tokenizer):
    """Without prefix, with masks and a tied head's own copy, n_ctx, and settings left out."""
    source = make_run(tmp_path / "run", tokenizer, dropout=0.1, attention_dropout=0.1)
    from_run("huggingface", source, tmp_path / "hf")
    mask = np.tril(np.ones((1, 1, 24, 24), np.float32))

    def age(arrays):
        arrays = {name.removeprefix("transformer."): array for name, array in arrays.items()}
        return arrays | {"h.0.attn.bias": mask, "h.1.attn.bias": mask.astype(np.uint8),
                         "position_ids": np.arange(24)[None],
                         "lm_head.weight": arrays["tokens_embed.weight"]}

    change_weights(tmp_path / "hf", age)
    damage_json(tmp_path / "hf" / "config.json", lambda config: (
        config.update(n_ctx=24, hidden_size=config.pop("n_embd"), n_special=0),
        [config.pop(name) for name in ("resid_pdrop", "attn_pdrop", "tie_word_embeddings")])[2:])
    to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    assert_same_run(source, str(tmp_path / "back"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_that_are_no_numbers_are_said_and_kept(tmp_path, tokenizer, layout):
    source = make_run(tmp_path / "run", tokenizer)
    model, _ = run_folder.load_model(source)
    bias = model.blocks[1].attention_norm.beta
    bias.assign(bias.numpy() * np.nan)
    Checkpoints(run_folder.checkpoint_folder(source),
                {"model": run_folder.model_variables(model)}).save(42)
    from_run(layout, source, tmp_path / "out")
    told = "\n".join(to_run(layout, tmp_path / "out", tmp_path / "back"))
    assert re.search(r"1 of 26 arrays hold values that are not finite, such as \S*h.?1.ln_1", told)
    assert_same_run(source, str(tmp_path / "back"))


def test_a_softmax_over_positions_is_none_of_huggingfaces(tmp_path, tokenizer):
    source = make_run(tmp_path / "run", tokenizer, softmax_over_positions=True)
    with pytest.raises(UserError, match="no softmax over positions"):
        from_run("huggingface", source, tmp_path / "out")
    from_run("openai", source, tmp_path / "out")
    to_run("openai", tmp_path / "out", tmp_path / "back")
    assert_same_run(source, str(tmp_path / "back"))


@pytest.mark.parametrize("module", [openai, huggingface])
def test_every_variable_has_one_name(tokenizer, module):
    model = GPT(make_config(tokenizer, SHAPES[2]))
    entries = module.folder_entries(model)
    variables = [id(variable) for entry in entries for variable in entry.variables]
    assert sorted(variables) == sorted(map(id, model.trainable_variables))
    assert len({entry.name for entry in entries}) == len(entries)
