"""Conversions against transformers' own program, in both directions, up to the paper's size.

Needs requirements-peers.txt (`make test-peers`). Published weights cannot be had where tests run:
random ones of exactly their layout and size stand for them.
"""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs requirements-peers.txt")
transformers = pytest.importorskip("transformers", reason="needs requirements-peers.txt")

import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.interop import conversion, huggingface
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import language_model_loss
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.tokenizer import Tokenizer, WordTokenizer

PAPER = ModelConfig()
# layers, heads, width, positions, tokens, length of the batch, standard deviation of the weights,
# bound on logits and loss. The small models' weights are large, so that attention is not flat.
SHAPES = [(1, 1, 8, 12, 60, 12, 0.4, 1e-5), (2, 3, 24, 16, 60, 9, 0.3, 1e-5),
          (4, 4, 128, 64, 300, 64, 0.1, 1e-5),
          (PAPER.num_layers, PAPER.num_heads, PAPER.hidden_dim, PAPER.max_sequence_length,
           PAPER.vocabulary_size, 32, PAPER.initializer_range, 1e-4)]


def _tokenizer(size: int) -> Tokenizer:
    """A vocabulary of this size; what its tokens are plays no role."""
    tokens = ["<unk>", *(f"t{index}</w>" for index in range(size - 2)), "\n</w>"]
    return WordTokenizer({token: index for index, token in enumerate(tokens)}, [])


def _run(folder, shape, **values) -> GPT:
    layers, heads, width, positions, size, _, deviation, _ = shape
    config = ModelConfig(vocabulary_size=size, num_layers=layers, num_heads=heads,
                         hidden_dim=width, intermediate_dim=4 * width,
                         max_sequence_length=positions, dropout=0.0, embedding_dropout=0.0,
                         attention_dropout=0.0, initializer_range=deviation, **values)
    model, rng = GPT(config, seed=1), np.random.default_rng(1)
    for variable in model.trainable_variables:  # biases and gains, too
        variable.assign_add(rng.normal(0, deviation, variable.shape).astype(np.float32))
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(dataclasses.asdict(config)))
    _tokenizer(size).save(folder)
    Checkpoints(run_folder.checkpoint_folder(str(folder)),
                {"model": weights.model_variables(model)}).save(1)
    return model


def _relative(ours, theirs) -> float:
    return np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs)


def _gradients(model: GPT, token_ids):
    loss = language_model_loss(model, seed=0)
    batch = {"token_ids": tf.constant(token_ids, tf.int32), "batch_rows": tf.range(len(token_ids)),
             "lengths": tf.fill([len(token_ids)], token_ids.shape[1]), "step": tf.constant(1)}
    with tf.GradientTape() as tape:
        sums = loss(batch)
        mean = sums.loss / sums.weight
    variables = model.trainable_variables
    found = tape.gradient(mean, [variable.value for variable in variables])
    return float(mean), {variable.path: tf.convert_to_tensor(gradient).numpy()
                         for variable, gradient in zip(variables, found)}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[2]}")
def test_transformers_loads_what_we_write_and_computes_the_same(tmp_path, shape):
    ours, bound = _run(tmp_path / "run", shape), shape[-1]
    conversion.export_run("huggingface", str(tmp_path / "run"), str(tmp_path / "hf"))
    theirs, info = transformers.OpenAIGPTLMHeadModel.from_pretrained(
        tmp_path / "hf", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs.eval()
    token_ids = np.random.default_rng(2).integers(0, shape[4], [2, shape[5]])
    output = theirs(torch.from_numpy(token_ids), labels=torch.from_numpy(token_ids))
    output.loss.backward()
    logits = ours.logits(ours(tf.constant(token_ids, tf.int32)))
    differences = {"logits": np.abs(logits - output.logits.detach().numpy()).max()}
    loss, gradients = _gradients(ours, token_ids)
    differences["loss"] = abs(loss - output.loss.item())
    wanted = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    worst = 0.0
    for entry in huggingface.folder_entries(ours):
        name = f"transformer.{entry.name}"
        found, expected = entry.join([gradients[v.path] for v in entry.variables]), wanted.pop(name)
        if name.endswith("c_attn.bias"):  # the key's part has no gradient but rounding
            keys = np.s_[shape[2]:2 * shape[2]]
            found, expected = np.delete(found, keys), np.delete(expected, keys)
        worst = max(worst, _relative(found, expected))
    assert not wanted  # every parameter once; the head is the token table
    print("\n" + ", ".join(f"{name} {value:.1e}" for name, value in
                            {**differences, "gradients": worst}.items()))
    assert max(differences.values()) < bound and worst < 1e-4


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[2]}")
def test_there_and_back_is_bit_identical(tmp_path, shape):
    layers, heads, width, positions, size = shape[:5]
    torch.manual_seed(0)
    theirs = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(
        vocab_size=size, n_positions=positions, n_embd=width, n_layer=layers, n_head=heads))
    theirs.save_pretrained(tmp_path / "theirs")
    _tokenizer(size).save(tmp_path / "theirs", layout="huggingface")
    conversion.import_run("huggingface", str(tmp_path / "theirs"), str(tmp_path / "run"), None, "")
    conversion.export_run("huggingface", str(tmp_path / "run"), str(tmp_path / "back"))
    back = transformers.OpenAIGPTLMHeadModel.from_pretrained(tmp_path / "back")
    expected = theirs.state_dict()
    assert back.state_dict().keys() == expected.keys()
    for name, value in back.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("saved", ["trunk alone", "float16", "bfloat16"])
def test_other_ways_in_which_transformers_saves(tmp_path, saved):
    """The names without their prefix, and narrow numbers, which stand for the same float32."""
    _, heads, width, positions, size = SHAPES[1][:5]
    config = transformers.OpenAIGPTConfig(vocab_size=size, n_positions=positions, n_embd=width,
                                          n_layer=2, n_head=heads)
    theirs = (transformers.OpenAIGPTModel(config) if saved == "trunk alone" else
              transformers.OpenAIGPTLMHeadModel(config).to(getattr(torch, saved)))
    theirs.save_pretrained(tmp_path / "theirs")
    _tokenizer(size).save(tmp_path / "theirs", layout="huggingface")
    told = conversion.import_run("huggingface", str(tmp_path / "theirs"), str(tmp_path / "run"),
                                 None, "")
    assert any(f"arrays are {saved}" in line for line in told) == (saved != "trunk alone")
    ours, _ = weights.load_model(str(tmp_path / "run"))
    trunk = getattr(theirs, "transformer", theirs).to(torch.float32)
    token_ids = np.random.default_rng(3).integers(0, size, [2, positions])
    with torch.no_grad():
        hidden = trunk.eval()(torch.from_numpy(token_ids)).last_hidden_state.numpy()
    np.testing.assert_allclose(ours(tf.constant(token_ids, tf.int32)), hidden, atol=1e-5)


def test_the_special_tokens_rows_survive_transformers(tmp_path):
    """A fine-tuned run's table, loaded and saved by transformers, without the file of ours."""
    *_, size = SHAPES[1][:5]
    _run(tmp_path / "run", SHAPES[1], num_special_tokens=3)
    conversion.export_run("huggingface", str(tmp_path / "run"), str(tmp_path / "hf"))
    theirs = transformers.OpenAIGPTLMHeadModel.from_pretrained(tmp_path / "hf")
    assert theirs.config.vocab_size == size + 3
    theirs.save_pretrained(tmp_path / "again")
    _tokenizer(size).save(tmp_path / "again", layout="huggingface")
    conversion.import_run("huggingface", str(tmp_path / "again"), str(tmp_path / "back"), None, "")
    before, after = (weights.load_model(str(tmp_path / name))[0] for name in ("run", "back"))
    assert after.config == before.config
    for one, other in zip(before.trainable_variables, after.trainable_variables):
        assert one.numpy().tobytes() == other.numpy().tobytes(), one.path


@pytest.mark.parametrize("resized", [
    dict(extra=1), dict(extra=3), dict(extra=0, pad_to_multiple_of=64),
    dict(extra=1, pad_to_multiple_of=64)], ids=str)
def test_a_table_that_transformers_resized(tmp_path, resized):
    """A pad token, added tokens, rows filled up: the others' logits are those of transformers."""
    _, heads, width, positions, size = SHAPES[1][:5]
    torch.manual_seed(0)
    theirs = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(
        vocab_size=size, n_positions=positions, n_embd=width, n_layer=2, n_head=heads)).eval()
    options = dict(resized)
    theirs.resize_token_embeddings(size + options.pop("extra"), **options)
    rows = theirs.config.vocab_size
    theirs.save_pretrained(tmp_path / "theirs")
    _tokenizer(size).save(tmp_path / "theirs", layout="huggingface")
    told = conversion.import_run("huggingface", str(tmp_path / "theirs"), str(tmp_path / "run"),
                                 None, "")
    assert f"{rows - size} of {rows} rows" in told[1]
    ours, _ = weights.load_model(str(tmp_path / "run"))
    token_ids = np.random.default_rng(3).integers(0, size, [2, positions])
    with torch.no_grad():
        logits = theirs(torch.from_numpy(token_ids)).logits.numpy()
    np.testing.assert_allclose(ours.logits(ours(tf.constant(token_ids, tf.int32))),
                               logits[..., :size], atol=1e-5)
