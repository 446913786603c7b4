"""From text to a served classifier in a language, by the commands."""

import json
import pathlib
import time

from gpt_tf.tokenizer import Tokenizer
from tests import sentences
from tests.commands import run_command
from tests.served import Client

# How the vocabulary is made, what a text then comes back as, and signs that it lacks.
LANGUAGES = {
    "zh": ("--language=zh", "她问：“你好吗？”《西游记》2024年。",
           '她问:"你好吗?"《西游记》2024年。', "火☃"),
    "de": ("--kind=byte_level", "»Komm!« – „Größe 42“ …", "»Komm!« – „Größe 42“ …", ""),
    "ru": ("--language=ru", "«Ёлка» стоит — и т. д.", "«ёлка» стоит - и т. д.", "ї☃")}
_RUN = ["--nojit_compile", "--strategy=one_device", "--batch_size=16"]


def write(folder: pathlib.Path, language: str) -> None:
    """Text, rows of a task, and what says of them what they are."""
    (folder / "text.txt").write_text(sentences.text(language), encoding="utf-8")
    for name, rows, seed in (("train", 160, 2), ("validation", 40, 3)):
        (folder / f"{name}.jsonl").write_text("".join(
            json.dumps({"body": text, "topic": label}, ensure_ascii=False) + "\n"
            for text, label in zip(*sentences.rows(language, rows, seed))), encoding="utf-8")
    (folder / "topic.json").write_text(json.dumps(
        {"name": "topic", "form": "classification", "fields": {"text": "body"}, "label": "topic",
         "labels": ["food", "weather"], "metrics": ["accuracy"]}))


def check(folder: pathlib.Path, language: str, client: Client) -> None:
    """Runs all commands in `folder`; asserts what each says of the language, and the answers.

    Prints how many are right, and how long it took.
    """
    start = time.monotonic()
    flag, text, comes_back, lacking = LANGUAGES[language]

    def run(module, *flags, stdin=""):
        done = run_command(module, *flags, cwd=folder, stdin=stdin)
        assert done.code == 0, done.stderr
        assert "Of the letters" not in done.stderr
        return done

    write(folder, language)
    run("pipelines.train_bpe", "--input=text.txt", "--output_dir=bpe", "--num_merges=300",
        "--num_workers=1", flag)
    tokenizer = Tokenizer.load(folder / "bpe")
    assert tokenizer.decode(tokenizer.encode(text)) == comes_back
    run("pipelines.build_corpus", "--input=text.txt", "--tokenizer=bpe", "--output_dir=data/text",
        "--sequence_length=64", "--num_workers=1")
    run("gpt_tf.pretrain", "--data_dir=data/text", "--model_dir=runs/text", "--num_steps=10",
        "--warmup_steps=2", "--learning_rate=0.01", "--num_layers=1", "--num_heads=2",
        "--hidden_dim=16", "--intermediate_dim=32", "--max_sequence_length=64", *_RUN)

    prompt = text[:4] + lacking
    done = run("gpt_tf.generate", "--model_dir=runs/text", f"--prompt={prompt}",
               "--max_new_tokens=5")
    assert done.stdout.startswith(tokenizer.decode(tokenizer.encode(prompt)))
    lacks = f"--prompt: the vocabulary lacks {len(lacking)} of its characters"
    assert (lacks in done.stderr) == bool(lacking)

    run("pipelines.build_task", "--task=topic.json",
        "--input=train=train.jsonl,validation=validation.jsonl", "--tokenizer=runs/text",
        "--output_dir=data/topic", "--num_workers=1")
    run("gpt_tf.finetune", "--data_dir=data/topic", "--init_from=runs/text", "--num_epochs=5",
        "--model_dir=runs/topic", "--learning_rate=0.02", "--dropout=0", *_RUN)
    texts, labels = sentences.rows(language, 40, seed=4)
    texts.append(lacking or "?")
    done = run("gpt_tf.predict", "--model_dir=runs/topic", stdin="\n".join(texts))
    answers = done.stdout.split()
    right = sum(map(str.__eq__, answers, labels))
    assert right >= 36
    assert (f"\n{len(lacking)} of " in f"\n{done.stderr}") == bool(lacking)

    run("gpt_tf.export", "--model_dir=runs/topic", "--output_dir=served")
    served, = client.ask([(f"{folder}/served/1", "classify_text", {"text": texts})])
    assert served["labels"].tolist() == answers
    print(f"{language}: {tokenizer.kind}, {right} of {len(labels)} right, the SavedModel's answers "
          f"equal, {time.monotonic() - start:.1f} s")
