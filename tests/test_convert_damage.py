"""Damaged folders of the published layouts: each is refused with one sentence."""

import json
import os

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS
from tests import corpora, task_data
from tests.converted import (
    LAYOUTS,
    SHAPES,
    change_weights,
    damage_json,
    from_run,
    make_run,
    to_run,
    write_released,
)

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture


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
        slice(None), [6, 6])), r"c_attn/b has shape \(6, 6\); the model needs \(36,\)"),
    (lambda f: damage_json(f / "params_shapes.json", lambda s: s[2].pop(0) and None),
     r"model/h0/attn/c_attn/w has shape \(12, 36\); the model needs \(1, 12, 36\)"),
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


def config_says(**values):
    return lambda f: damage_json(f / "config.json", lambda config: config.update(values))


def renamed(old, new):
    return lambda f: change_weights(f, lambda a: a.__setitem__(new, a.pop(old)))


def resized(added):
    def change(folder):
        name = "transformer.tokens_embed.weight"
        change_weights(folder, lambda arrays: arrays.update({
            name: np.pad(arrays[name], [(0, added), (0, 0)])}))
        config_says(vocab_size=95 + added)(folder)
    return change


QUERY = "transformer.h.0.attn.c_attn.weight"


@pytest.mark.parametrize("damage, message", [
    (lambda f: (f / "config.json").unlink(), "Cannot read .*config.json"),
    (lambda f: (f / "config.json").write_text("[1]"), "config.json is not a JSON object"),
    (lambda f: (f / "model.safetensors").unlink(), "No model.safetensors in .*hf.$"),
    (lambda f: (f / "model.safetensors").rename(f / "tf_model.h5"),
     "No model.safetensors .*tf_model.h5, is not read here: load it with transformers"),
    (lambda f: cut(f / "model.safetensors"), "model.safetensors is damaged"),
    (lambda f: cut(f / "model.safetensors", 0), "model.safetensors is damaged"),
    (config_says(model_type="gpt2"), "says model_type 'gpt2' and only 'openai-gpt'"),
    (lambda f: damage_json(f / "config.json", lambda c: c.pop("model_type") and None),
     "says model_type None"),
    (config_says(afn="relu"), "says afn 'relu' and only 'gelu' is GPT-1"),
    (config_says(tie_word_embeddings=False), "says tie_word_embeddings False"),
    (config_says(n_ctx=12), "n_ctx 12 and n_positions 24"),
    (config_says(n_head=5), "config.json: .*multiple of"),
    (config_says(n_head="3"), "says n_head '3' and not a whole number"),
    (config_says(resid_pdrop=None), "says resid_pdrop None and not a number"),
    (config_says(resid_pdrop=1.5), "config.json: .*1.5 must be at least 0"),
    (config_says(n_layer=3), "says n_layer 3 and .*model.safetensors has 2"),
    (config_says(n_embd=24), r"says vocab_size and n_embd \(95, 24\) and .* has \(95, 12\)"),
    (config_says(vocab_size=94), r"says vocab_size and n_embd \(94, 12\)"),
    (config_says(n_positions=25), r"says n_positions and n_embd \(25, 12\)"),
    (config_says(n_special=3), "has rows for 92 tokens and the vocabulary in .* has 95"),
    (resized(257), "has rows for 352 tokens and the vocabulary in .* has 95: take both"),
    (config_says(n_special=2), "has 2 rows of special tokens: there are 3 or none"),
    (renamed(QUERY, "transformer.h.0.attn.c_attn.kernel"), "lacks h.0.attn.c_attn.weight:"),
    (lambda f: change_weights(f, lambda a: {name: a[name] for name in a if "c_fc" not in name}),
     "lacks h.0.mlp.c_fc.bias and 3 more:"),
    (lambda f: change_weights(f, lambda a: a.update({"score.bias": np.zeros(2, "f")})),
     "no place for: score.bias: take"),
    (lambda f: change_weights(f, lambda a: a.update({QUERY: a[QUERY].T.copy()})),
     r"c_attn.weight has shape \(36, 12\); the model needs \(12, 36\)"),
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
    (tmp_path / "hf" / SUMS).unlink()
    damage(tmp_path / "hf")
    with pytest.raises(UserError, match=message) as error:
        to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    assert "\n" not in str(error.value) and sorted(os.listdir(tmp_path)) == ["hf", "run"]


@pytest.mark.parametrize("layout, name", [("huggingface", "config.json"),
                                          ("openai", "params_shapes.json")])
def test_a_changed_description_is_told(tmp_path, tokenizer, layout, name):
    from_run(layout, make_run(tmp_path / "run", tokenizer), tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match=f"{name} .* is not as it was written"):
        to_run(layout, tmp_path / "model", tmp_path / "back")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fine_tuned_runs_parts_belong_together(tmp_path, tokenizer, layout):
    task = task_data.TASKS["classification"]
    from_run(layout, make_run(tmp_path / "tuned", tokenizer, task=task), tmp_path / "tuned-out")
    from_run(layout, make_run(tmp_path / "run", tokenizer, SHAPES[0]), tmp_path / "out")
    (tmp_path / "tuned-out" / "gpt_tf.safetensors").rename(
        tmp_path / "out" / "gpt_tf.safetensors")
    with pytest.raises(UserError, match="take all files from one conversion"):
        to_run(layout, tmp_path / "out", tmp_path / "back")
