# %% [markdown]
# # Pre-training and generation
#
# From text to a language model that tells stories, in a minute on two cores, and without a
# download: the text is the sample stories, which a grammar of ours tells. With files of your own,
# begin at `train_bpe`. Needs the package (`pip install .` in the repository); everything is made
# in the folder `example`, beside the notebook.
#
# What one types in a terminal, `gpt-tf COMMAND`, stands here as a call.

# %%
import shlex
import subprocess
import sys


def gpt_tf(command):
    """Runs `gpt-tf command`."""
    subprocess.run([sys.executable, "-m", "gpt_tf", *shlex.split(command)],
                   check=True, stderr=subprocess.STDOUT)


# %% [markdown]
# ## Text

# %%
import json

gpt_tf("stories --output=example/stories.jsonl --megabytes=2 --overwrite")
with open("example/stories.jsonl", encoding="utf-8") as stream:
    print(json.loads(next(stream))["text"])

# %% [markdown]
# ## A vocabulary
#
# The paper's byte-pair encoding, which knows no capitals, learned from the text.

# %%
gpt_tf("train_bpe --input=example/stories.jsonl --output_dir=example/bpe --num_merges=1500"
       " --overwrite")

# %%
from gpt_tf.tokenizer import Tokenizer

tokenizer = Tokenizer.load("example/bpe")
token_ids = tokenizer.encode("Leo was wearing a blue apron.")
print(token_ids)
print(tokenizer.decode(token_ids))

# %% [markdown]
# ## TFRecords
#
# Windows of 128 tokens, and some of the stories held out. The folder describes itself: training
# needs nothing else.

# %%
gpt_tf("build_corpus --input=example/stories.jsonl --tokenizer=example/bpe"
       " --output_dir=example/data --sequence_length=128 --overwrite")

# %% [markdown]
# ## Pre-training
#
# A model of two layers. The paper's would be `--flagfile=gpt1.flags`: every value is a flag.
# Interrupt the cell if you like: the same command goes on from the last checkpoint. `tensorboard
# --logdir example` shows the run as it goes.

# %%
gpt_tf("pretrain --flagfile=quickstart.flags --max_sequence_length=128 --batch_size=8"
       " --num_steps=500 --evaluate_every=50 --data_dir=example/data --model_dir=example/stories")

# %% [markdown]
# The run's numbers are in `metrics.jsonl`, one row an update that was logged.

# %%
import matplotlib.pyplot as plt

with open("example/stories/metrics.jsonl", encoding="utf-8") as stream:
    rows = [json.loads(line) for line in stream]
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name in ("train/loss", "validation/loss"):
    axes.plot(*zip(*((row["step"], row[name]) for row in rows if name in row)), label=name)
axes.set_xlabel("update")
axes.set_ylabel("nats a token")
axes.legend()
figure.savefig("example/loss.png")

# %% [markdown]
# ## How good it is
#
# Beside a smoothed trigram on the same held-out stories:

# %%
gpt_tf("evaluate --model_dir=example/stories --data_dir=example/data --trigram")

# %% [markdown]
# ## Texts
#
# The run folder is a preset of Keras models. (The first line imports TensorFlow without its
# notices.)

# %%
from gpt_tf.common import cli

cli.import_tensorflow(whole=True)
from gpt_tf import GPTCausalLM

model = GPTCausalLM.from_preset("example/stories")
for text in model.generate(["This is the story of", "In a house with a blue door"], max_length=100):
    print(text, end="\n\n")

# %% [markdown]
# ## The model itself
#
# What it takes to be the next token of a text:

# %%
import tensorflow as tf

from gpt_tf.runs import weights

model, step = weights.load_model("example/stories")
prompt = "This is the story of a curious mouse. A brave fox lived close by, and the two were"
hidden = model(tf.constant([tokenizer.encode(prompt)]))     # [1, time, width]
probabilities = tf.nn.softmax(model.logits(hidden)[0, -1])  # [vocabulary]
for probability, token_id in zip(*tf.math.top_k(probabilities, 5)):
    print(f"{probability:.3f}  {tokenizer.decode([int(token_id)])}")

# %% [markdown]
# Next: [a classifier made of this model](finetune_export_serve.ipynb).
