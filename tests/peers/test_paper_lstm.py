"""The LSTM from its pre-training by the command to its row of Table 5, all of it trained."""

import json
import subprocess
import sys

from tests import fuzz_seeds, task_data
from tests.conftest import REPOSITORY

TRAINING = ("--hidden_dim=16", f"--max_sequence_length={task_data.MAX_LENGTH}", "--num_layers=1",
            "--num_heads=1", "--intermediate_dim=24", "--num_steps=4", "--warmup_steps=1",
            "--batch_size=2")


def run(module, *arguments):
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=REPOSITORY,
                          capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def test_from_pretraining_to_the_table(tmp_path):
    corpus, decoder, lstm = tmp_path / "corpus", tmp_path / "decoder", tmp_path / "lstm"
    corpus.mkdir()
    fuzz_seeds.corpus_data(corpus)
    run("gpt_tf.pretrain", f"--data_dir={corpus}", f"--model_dir={decoder}", *TRAINING)
    said = run("benchmarks.paper.lstm", "pretrain", f"--data_dir={corpus}",
               f"--model_dir={lstm}", *TRAINING)
    rows = fuzz_seeds.tokenizer().vocabulary_size + task_data.MAX_LENGTH
    assert f"{16 * rows + 4 * 24**2 + 84 * 24 + 16:,} parameters" in said
    assert "lstm is finished: 4 updates." in said

    work = tmp_path / "work"
    (tmp_path / "tasks" / "SST-2").mkdir(parents=True)
    task_data.write(work / "data" / "sst2", fuzz_seeds.tokenizer(),
                    task_data.TASKS["classification"])
    table = ("benchmarks.paper", "table5", f"--pretrained={decoder}", f"--lstm={lstm}",
             f"--tasks_dir={tmp_path / 'tasks'}", f"--work_dir={work}", "--num_seeds=1",
             "--rates=0.01", "--epochs=sst2=30")
    assert "| LSTM | " in run(*table)
    runs = json.loads((work / "table5.json").read_text())["runs"]
    assert [each["arm"] for each in runs] == ["pretrained", "scratch", "no_lm", "lstm"]
    # The task is one word: half of the rows are right by chance.
    assert all(each["scores"]["accuracy"] > 0.9 for each in runs)
    assert "seed 1 ..." not in run(*table)  # all is done
