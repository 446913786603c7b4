"""Weights of the published layouts in and out: nothing lost, and what is not replaced."""

import os
import re

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import predict as predict_command
from gpt_tf.common.errors import UserError
from gpt_tf.interop import conversion, huggingface, openai, targets
from gpt_tf.model.gpt import GPT
from gpt_tf.predict import PredictionConfig
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints
from tests import corpora, task_data
from tests.converted import (
    LAYOUTS,
    SHAPES,
    assert_same_run,
    change_weights,
    damage_json,
    from_run,
    make_config,
    make_run,
    read_released,
    to_run,
    weights_of,
    write_released,
)
from tests.test_commands import run, run_process
from tests.test_finetuning import finetune, make_run_config

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture


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
    model, step = weights.load_model(str(tmp_path / "run"))
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
        predict_command.predict(PredictionConfig(
            model_dir=str(tmp_path / folder), input=str(tmp_path / "rows.tsv"),
            probabilities=True))
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and len(answers[0].splitlines()) == texts.count("\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command(tmp_path, tokenizer, layout):
    """As users type it."""
    source = make_run(tmp_path / "run", tokenizer)
    start = run_process if layout == "openai" else run
    out, _ = start("gpt_tf.convert", f"--to={layout}", f"--input={source}",
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
    before, _ = weights_of(str(tmp_path / "run"))
    data = task_data.write(str(tmp_path / "data"), tokenizer, task_data.TASKS["classification"])
    shape = make_config(tokenizer, num_special_tokens=3)
    values = dict(init_from=str(tmp_path / "run"), model=shape, training={"num_steps": 2})
    with pytest.raises(UserError, match="holds converted weights, .* --init_from=.*/run and an"):
        finetune(make_run_config(tmp_path / "run", data, tokenizer, **values))
    after, _ = weights_of(str(tmp_path / "run"))
    assert all((after[name] == value).all() for name, value in before.items())
    assert finetune(make_run_config(tmp_path / "tuned", data, tokenizer, **values)).steps == 2
    # What the refused training leaves does not keep the folder from being replaced.
    targets.check(str(tmp_path / "run"), str(tmp_path / "model"), None, True)
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
    check = targets.check
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


@pytest.mark.parametrize("dtype", [np.float16, tf.bfloat16.as_numpy_dtype])
def test_narrow_numbers_are_widened(tmp_path, tokenizer, dtype):
    source = make_run(tmp_path / "run", tokenizer)
    from_run("huggingface", source, tmp_path / "hf")
    expected, _ = weights_of(source)
    change_weights(tmp_path / "hf", lambda arrays: {
        name: array.astype(dtype) for name, array in arrays.items()})
    told = to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    assert f"26 of 26 arrays are {np.dtype(dtype).name}" in "\n".join(told)
    for name, value in weights_of(str(tmp_path / "back"))[0].items():
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


@pytest.mark.parametrize("form, added", [(None, 1), (None, 3), (None, 256), ("classification", 33)])
def test_a_token_table_that_was_resized(tmp_path, tokenizer, form, added):
    """As transformers' `resize_token_embeddings` leaves it: rows and `vocab_size` grow."""
    run = make_run(tmp_path / "run", tokenizer, task=form and task_data.TASKS[form])
    from_run("huggingface", run, tmp_path / "hf")
    name = "transformer.tokens_embed.weight"
    change_weights(tmp_path / "hf", lambda arrays: arrays.update({
        name: np.pad(arrays[name], [(0, added), (0, 0)], constant_values=9.0)}))
    damage_json(tmp_path / "hf" / "config.json",
                lambda config: config.update(vocab_size=config["vocab_size"] + added))
    notes = to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    rows = tokenizer.vocabulary_size + 3 * bool(form) + added
    assert f"{added} of {rows} rows of the token table are behind" in notes[1]
    assert_same_run(run, tmp_path / "back")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_that_are_no_numbers_are_said_and_kept(tmp_path, tokenizer, layout):
    source = make_run(tmp_path / "run", tokenizer)
    model, _ = weights.load_model(source)
    bias = model.blocks[1].attention_norm.beta
    bias.assign(bias.numpy() * np.nan)
    Checkpoints(run_folder.checkpoint_folder(source),
                {"model": weights.model_variables(model)}).save(42)
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
