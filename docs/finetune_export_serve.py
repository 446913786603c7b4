# %% [markdown]
# # Fine-tuning, export, and serving
#
# A classifier of 64 labelled rows, made of the language model that
# [pretrain_and_generate](pretrain_and_generate.ipynb) leaves in `example/stories`: run that
# first, in the same folder. A minute on two cores.

# %%
import shlex
import subprocess
import sys


def gpt_tf(command):
    """Runs `gpt-tf command`."""
    subprocess.run([sys.executable, "-m", "gpt_tf", *shlex.split(command)],
                   check=True, stderr=subprocess.STDOUT)


# %% [markdown]
# ## A task
#
# What does the hero feel when things go wrong? The rows are JSONL, and a small `spec.json` says
# what is in them: that is all it takes for data of your own, too.

# %%
import pathlib

gpt_tf("story_tasks --task=feeling --train_rows=64 --output_dir=example/feeling-rows --overwrite")
print(pathlib.Path("example/feeling-rows/spec.json").read_text(encoding="utf-8"))
print(*pathlib.Path("example/feeling-rows/train.jsonl").read_text(encoding="utf-8").splitlines()[:3],
      sep="\n")

# %%
gpt_tf("build_task --task=example/feeling-rows/spec.json --input=example/feeling-rows"
       " --tokenizer=example/stories --max_length=128 --output_dir=example/feeling-data"
       " --overwrite")

# %% [markdown]
# ## Fine-tuning
#
# The classifier's loss plus half the language model's on the same texts. The weights of the best
# validation are kept.

# %%
gpt_tf("finetune --flagfile=quickstart_finetune.flags --data_dir=example/feeling-data"
       " --init_from=example/stories --model_dir=example/feeling")

# %% [markdown]
# On rows that neither training nor the choice of the weights has seen, beside a bag of words of
# the same 64:

# %%
gpt_tf("evaluate --model_dir=example/feeling --data_dir=example/feeling-data --split=test"
       " --bag_of_words")

# %% [markdown]
# ## A SavedModel
#
# The tokenizer is in the graph: it takes strings.

# %%
gpt_tf("export --model_dir=example/feeling --output_dir=example/exported --version=1 --overwrite")

# %% [markdown]
# ## Serving
#
# Whoever loads it needs TensorFlow alone, and none of this package. TensorFlow Serving takes the
# folder `example/exported` as it is. (The first two lines import TensorFlow without its notices.)

# %%
from gpt_tf.common import cli

cli.import_tensorflow(whole=True)
import tensorflow as tf

texts = ["Leo was a clever hedgehog. Of all his things, Leo loved the white scarf best. There was "
         "a hole in the bag, and the scarf had fallen out somewhere.",
         "Nora was a brave girl. Then a black cloud came, and it was as dark as night."]
classify = tf.saved_model.load("example/exported/1").signatures["classify_text"]
answers = classify(text=tf.constant(texts))
for text, label, probabilities in zip(texts, answers["labels"], answers["probabilities"]):
    print(f"{label.numpy().decode()} ({tf.reduce_max(probabilities):.2f}): {text}")
