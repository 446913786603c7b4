"""Every command that takes a run folder, on what Keras saved: beside Keras, and beside the run."""

import json

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import GPTCausalLM
from gpt_tf.sources import resolve
from tests import corpora, task_data, test_model_sources
from tests.commands import run_command
from tests.test_commands import run
from tests.test_finetuning import assert_same_tensors
from tests.test_model_sources import TEXTS

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
folder_fixture = test_model_sources.folder_fixture
cached_fixture = test_model_sources.cached_fixture
classifier_fixture = test_model_sources.classifier_fixture
pytestmark = test_model_sources.pytestmark
TRAINING = ("--batch_size=4", "--log_every=1", "--nojit_compile")


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory, tokenizer, tokenizer_dir):
    """corpus/ and task/, of the saved models' tokenizer."""
    data = tmp_path_factory.mktemp("data")
    (data / "text.txt").write_text(corpora.make_text(1, 40))
    run("pipelines.build_corpus", f"--input={data}/text.txt", f"--tokenizer={tokenizer_dir}",
        f"--output_dir={data}/corpus", "--sequence_length=16", "--validation_fraction=0.3",
        "--num_workers=1")
    task_data.write(str(data / "task"), tokenizer, task_data.TASKS["classification"])
    return data


@pytest.mark.parametrize("name", ["lm", "lm.keras"])
def test_generate_writes_what_keras_does(folder, name):
    model = GPTCausalLM.from_preset(str(folder / "lm"))
    model.compile(sampler="greedy", jit_compile=False)
    prompts = ["the cat", "in the end"]
    done = run_command("gpt_tf.generate", f"--model_dir={folder / name}", "--temperature=0",
                       "--prompts_file=-", "--max_new_tokens=9", stdin="\n".join(prompts) + "\n")
    assert done.code == 0, done.stderr
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    for text, prompt in zip(texts, prompts, strict=True):
        length = 9 + max(1, len(model.preprocessor.tokenizer(prompt)))
        assert text == model.generate(prompt, max_length=length)


def test_an_exported_classifier_takes_strings_and_answers_as_keras_does(folder, classifier,
                                                                        tmp_path):
    expected = tf.nn.softmax(classifier.predict(TEXTS, verbose=0))
    run("gpt_tf.export", f"--model_dir={folder}/classifier", f"--output_dir={tmp_path}/out")
    served = tf.saved_model.load(f"{tmp_path}/out/1").signatures["classify_text"]
    answers = served(text=tf.constant(TEXTS))
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)


def test_evaluate_measures_the_run(folder, data):
    scores = [run("gpt_tf.evaluate", f"--model_dir={folder}/{name}", f"--text={data}/text.txt",
                  "--nojit_compile")[0].partition("\n")[2] for name in ("lm", "lm.keras", "run")]
    assert "perplexity" in scores[0] and len(set(scores)) == 1
    out, _ = run("gpt_tf.evaluate", f"--model_dir={folder}/classifier", "--nojit_compile",
                 f"--data_dir={data}/task", f"--beside={folder}/classifier.keras")
    [line] = [line.split() for line in out.splitlines() if line.startswith("  accuracy")]
    assert line[2] == f"{folder}/classifier.keras" and line[1] == line[3]


@pytest.mark.parametrize("command, flags", [
    ("pretrain", ["--data_dir={data}/corpus", "--num_steps=3", "--warmup_steps=1"]),
    ("finetune", ["--data_dir={data}/task", "--num_epochs=0.2", "--evaluations_per_epoch=0"])])
def test_training_starts_from_the_same_weights(folder, data, tmp_path, command, flags):
    flags = [flag.format(data=data) for flag in flags]
    converted = resolve.run_folder(str(folder / "lm"))
    for name, source in (("preset", folder / "lm"), ("again", folder / "lm"),
                         ("converted", converted)):
        out, _ = run(f"gpt_tf.{command}", *flags, *TRAINING, f"--init_from={source}",
                     f"--model_dir={tmp_path}/{'preset' if name == 'again' else name}")
        assert "is finished: 3 updates" in out  # again it goes on, from its end
    assert f"--init_from={folder}/lm\n" in (tmp_path / "preset" / f"{command}.flags").read_text()
    assert_same_tensors(tmp_path / "preset" / "checkpoints", tmp_path / "converted" / "checkpoints")


def test_report_draws_what_it_attends_to(folder, tmp_path):
    out, _ = run("gpt_tf.report", f"--model_dir={folder}/lm.keras", "--prompt=the cat",
                 f"--output_dir={tmp_path}/report")
    assert "attention" in out and (tmp_path / "report" / "report.html").exists()
