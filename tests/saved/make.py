"""Makes what tests/peers/test_saved.py reads: files of every kind, and the answers they give.

  python -m tests.saved.make OUTPUT_DIR

It types the users' commands, and takes of gpt_tf only the Keras names that users import, so that
it runs whatever the modules are called. It is here to say how the files were made, and is run
again only when a format is meant to change. All paths are relative, for OUTPUT_DIR may be anywhere.

  source/          text, rows of tasks
  bpe/, data/*/    tokenizer, and a data folder of each kind
  models.tar.xz    what holds weights:
    runs/lm, runs/feeling           finished: pre-trained, fine-tuned
    killed/lm, killed/feeling       the same commands, killed -9 after their first checkpoint
    converted/                      both runs in both published layouts
    keras/                          presets, a .keras file
    exported/                       SavedModels of both runs
  commands.json    how the folders are made again; commands and what they print and write
  keras.npz, served.npz             inputs and answers of the models
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCHEMAS = """\
The wolf chased the cat because it was hungry.
it
The wolf,the cat
the wolf

Tom thanked Ann because she had found his hat.
she
Tom,Ann
Ann

The king could not hear the boy, so he shouted.
he
The king,the boy
the boy
"""
REVIEWS = "sentence\tlabel\na kind and merry story \t1\na cold , sad song \t0\nshe was glad \t1\n"
PROMPTS = "One morning\nThe dog of Tom\nA king\n"
TEXTS = ["A dog ran off with the hat of Tom.", "The king was sorry; it rained.", "Glad"]
NOVEL = ("It was a dark and stormy night; the rain fell in torrents.\n\n"
         "The End, said Zo\u00eb.\n") * 4

# How each kind of folder is made, in an order in which it can be.
SOURCES = [
    ["pipelines.stories", "--output=source/stories.jsonl", "--megabytes=0.008"],
    *(["pipelines.story_tasks", f"--task={task}", f"--output_dir=source/{task}",
       f"--train_rows={rows}", f"--validation_rows={rows - 8}", "--test_rows=4"]
      for task, rows in (("feeling", 32), ("ending", 12)))]
BUILD = ["--tokenizer=bpe", "--num_workers=1"]
FOLDERS = {
    "bpe": ["pipelines.train_bpe", "--input=source/stories.jsonl", "--output_dir=bpe",
            "--num_merges=100", "--num_workers=1"],
    "data/stories": ["pipelines.build_corpus", "--input=source/stories.jsonl",
                     "--output_dir=data/stories", "--sequence_length=32",
                     "--validation_fraction=0.3", "--shard_megabytes=0.002", *BUILD],
    **{f"data/{task}": ["pipelines.build_task", f"--task=source/{task}/spec.json",
                        f"--input=source/{task}", f"--output_dir=data/{task}", "--max_length=32",
                        *BUILD] for task in ("feeling", "ending")},
    "data/dpr": ["pipelines.build_task", "--task=dpr", "--zero_shot", "--input=source/dpr",
                 "--output_dir=data/dpr", "--max_length=32", *BUILD],
    "data/sst2": ["pipelines.build_task", "--task=sst2", "--zero_shot", "--input=source/sst2",
                  "--output_dir=data/sst2", "--max_length=32", *BUILD]}
CONVERTED = {
    f"converted/{layout}-{run}": ["gpt_tf.convert", f"--to={layout}", f"--input=runs/{run}",
                                  f"--output_dir=converted/{layout}-{run}"]
    for layout in ("openai", "huggingface") for run in ("lm", "feeling")}

# Some of Adam's gradients are nothing but rounding (of the keys' biases); the paper's epsilon would
# magnify them, and no two kinds of processor would agree.
COURSE = ["--batch_size=8", "--num_steps=12", "--save_every=6", "--keep_checkpoints=1",
          "--epsilon=1e-4", "--initializer_range=0.3", "--log_every=1"]
TRAINING = {
    "lm": ["gpt_tf.pretrain", "--data_dir=data/stories", "--num_layers=2", "--num_heads=2",
           "--hidden_dim=8", "--intermediate_dim=32", "--max_sequence_length=32",
           "--warmup_steps=2", "--evaluate_every=4", "--learning_rate=3e-2", *COURSE],
    # By this seed the best validation is the one before the kill, and those after it are worse.
    "feeling": ["gpt_tf.finetune", "--data_dir=data/feeling", "--init_from=runs/lm", "--seed=15",
                "--learning_rate=2e-2", "--lm_coef=0.1", "--classifier_dropout=0.3", *COURSE]}
FIRST_SAVE = 6
PACKED = ["runs", "killed", "converted", "keras", "exported"]

ANSWERS = [
    ["gpt_tf.evaluate", "--model_dir=runs/lm", "--data_dir=data/stories", "--trigram"],
    ["gpt_tf.evaluate", "--model_dir=runs/lm", "--text=source/novel.txt", "--stride=8"],
    ["gpt_tf.generate", "--model_dir=runs/lm", "--prompt=One morning", "--temperature=0",
     "--max_new_tokens=12"],
    ["gpt_tf.generate", "--model_dir=runs/lm", "--prompts_file=source/prompts.txt", "--seed=7",
     "--num_samples=2", "--top_p=0.9", "--max_new_tokens=8", "--log_probabilities"],
    ["gpt_tf.zero_shot", "--model_dir=runs/lm", "--data_dir=data/dpr,data/sst2"],
    ["gpt_tf.zero_shot", "--model_dir=runs/lm", "--data_dir=data/dpr",
     "--predictions=written/dpr.tsv"],
    ["gpt_tf.evaluate", "--model_dir=runs/feeling", "--data_dir=data/feeling", "--split=test",
     "--bag_of_words", "--predictions=written/feeling.tsv", "--probabilities"],
    ["gpt_tf.predict", "--model_dir=runs/feeling", "--input=source/feeling/test.jsonl",
     "--probabilities"],
    ["gpt_tf.predict", "--model_dir=runs/feeling", "--input=source/feeling/test.jsonl",
     "--output=written/feeling.jsonl", "--probabilities"]]
# Files that an answer leaves behind, beside --predictions and --output.
LEFT = {4: ["runs/lm/evaluations"], 6: ["runs/feeling/evaluations"]}

TOKEN_IDS = [[5, 9, 40, 33, 7, 12, 80, 2], [60, 61, 3, 3, 25, 90, 11, 0]]
# The special tokens of 164 others are 164, 165 and 166.
CONTROLS = dict(max_new_tokens=[6] * 2, temperature=[1.0] * 2, top_k=[20] * 2, top_p=[0.9] * 2)
SERVED = {
    "lm": {"logits": dict(token_ids=TOKEN_IDS), "score_text": dict(text=TEXTS),
           "generate_text_with_controls": dict(prompt=TEXTS[:2], seed=[1, 2], **CONTROLS)},
    "feeling": {"classify_text": dict(text=TEXTS), "score_text": dict(text=TEXTS),
                "generate_with_controls": dict(token_ids=TOKEN_IDS, lengths=[8, 7], seed=[3, 4],
                                               **CONTROLS),
                "classify": dict(token_ids=[[[164, 5, 9, 40, 165, 166]]], lengths=[[6]])}}


def _start(folder, command, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=environment,
                            stdout=subprocess.PIPE, text=True, **options)


def _run(folder, command):
    print(*command, flush=True)
    process = _start(folder, command)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def _run_killed(folder, command, run):
    """The command, ended by kill -9 once its first checkpoint is on the disk, and not its next."""
    checkpoints = folder / run / "checkpoints"
    newest = checkpoints / "checkpoint"
    process = _start(folder, [*command, f"--model_dir={run}"])
    while not newest.exists():
        assert process.poll() is None
        time.sleep(0.0002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert newest.read_text() == f'model_checkpoint_path: "ckpt-{FIRST_SAVE}"\n'
    assert [path.name for path in checkpoints.glob("*.index")] == [f"ckpt-{FIRST_SAVE}.index"]


def _make_sources(folder):
    for command in SOURCES:
        _run(folder, command)
    for name, text in {"dpr/test.c.txt": SCHEMAS, "sst2/train.tsv": REVIEWS,
                       "sst2/dev.tsv": REVIEWS, "prompts.txt": PROMPTS, "novel.txt": NOVEL}.items():
        (folder / "source" / name).parent.mkdir(exist_ok=True)
        (folder / "source" / name).write_text(text, encoding="utf-8")


def _files(folder, names):
    """Name -> text of the files named, and of those in the folders named."""
    paths = [path for name in names for path in (folder / name, *(folder / name).rglob("*"))]
    return {str(path.relative_to(folder)): path.read_text() for path in paths if path.is_file()}


def _ask(folder):
    """What each command prints and writes."""
    answers = []
    for index, command in enumerate(ANSWERS):
        out = _run(folder, command)
        written = [flag.partition("=")[2] for flag in command
                   if flag.startswith(("--predictions=", "--output="))]
        answers.append({"command": command, "stdout": out,
                        "files": _files(folder, written + LEFT.get(index, []))})
    shutil.rmtree(folder / "written")
    for run in ("lm", "feeling"):
        shutil.rmtree(folder / "runs" / run / "evaluations")
    return answers


def _make_keras(folder):
    from gpt_tf import GPTCausalLM, GPTTextClassifier

    ids = np.array(TOKEN_IDS, np.int32)
    inputs = {"token_ids": ids, "padding_mask": np.array(ids > 0, np.int32)}
    model = GPTCausalLM.from_preset(str(folder / "runs" / "lm"))
    classifier = GPTTextClassifier.from_preset(str(folder / "runs" / "feeling"))
    model.save_to_preset(folder / "keras" / "lm")
    model.save(folder / "keras" / "lm.keras")
    classifier.save_to_preset(folder / "keras" / "feeling")
    np.savez_compressed(folder / "keras.npz", **inputs, texts=np.array(TEXTS),
                        lm=model(inputs), feeling=classifier.predict(TEXTS, verbose=0))


def _make_served(folder):
    import tensorflow as tf

    arrays = {}
    for run, calls in SERVED.items():
        _run(folder, ["gpt_tf.export", f"--model_dir=runs/{run}", f"--output_dir=exported/{run}"])
        model = tf.saved_model.load(str(folder / "exported" / run / "1"))
        for name, inputs in calls.items():
            signature = model.signatures[name]
            specs = signature.structured_input_signature[1]
            outputs = signature(**{key: tf.constant(value, specs[key].dtype)
                                   for key, value in inputs.items()})
            for kind, values in (("in", inputs), ("out", outputs)):
                for key, value in values.items():
                    value = np.array(value)
                    if value.dtype == object:  # npz wants no pickles
                        value = np.char.decode(value.astype(bytes), "utf-8")
                    arrays[f"{run}/{name}/{kind}/{key}"] = value
    np.savez_compressed(folder / "served.npz", **arrays)


def _tidy(folder):
    """Leaves out what no command reads, and packs what is large."""
    for path in [*folder.rglob("events.out.tfevents.*"), *folder.rglob(".lock")]:
        path.unlink()
    with tarfile.open(folder / "models.tar.xz", "w:xz", preset=9) as archive:
        for name in PACKED:  # one after the other: the same weights are in all
            archive.add(folder / name, name, filter=_anonymous)
            shutil.rmtree(folder / name)


def _anonymous(info):
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def _write(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main():
    """Makes everything in a new folder."""
    folder = pathlib.Path(sys.argv[1]).resolve()
    folder.mkdir()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    _make_sources(folder)
    for command in FOLDERS.values():
        _run(folder, command)
    for run, command in TRAINING.items():
        _run(folder, [*command, f"--model_dir=runs/{run}"])
        _run_killed(folder, command, f"killed/{run}")
    for command in CONVERTED.values():
        _run(folder, command)
    _write(folder / "commands.json", {"sources": SOURCES, "folders": FOLDERS,
                                      "converted": CONVERTED, "answers": _ask(folder)})
    _make_keras(folder)
    _make_served(folder)
    _tidy(folder)


if __name__ == "__main__":
    main()
