# Two commands on a new machine: make quickstart, make test. They need Python 3.11 - 3.13 and a
# package registry, and make everything else.

# The first of these that runs: a name can be there and be another version manager's stub.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
  && echo $$p && break; done)
VENV ?= .venv
RUN = $(VENV)/bin/python

# make environment GPU=1: CUDA's libraries, too, which from then on everything here uses; without
# them, what runs here runs on the CPU and need not be told so.
GPU ?= $(wildcard $(VENV)/.gpu)
ifndef GPU
export CUDA_VISIBLE_DEVICES = -1
endif

# Text of your own: make quickstart CORPUS='books/*.txt', and MERGES=max where it is short.
CORPUS ?=
QUICKSTART ?= quickstart$(if $(CORPUS),-own)
MERGES ?= $(if $(CORPUS),4000,1500)
PROMPT ?= $(if $(CORPUS),It was,This is the story of)
FLAGS = $(if $(CORPUS),small_text,quickstart).flags
TEXT = $(if $(CORPUS),$(CORPUS),$(QUICKSTART)/stories.jsonl)

# The time at which each step ended, after that at which the first began.
CLOCK = $(QUICKSTART)/.clock
START_CLOCK = @mkdir -p $(QUICKSTART) && date +%s > $(CLOCK)
TOOK = @date +%s >> $(CLOCK); awk '{took = $$1 - last; last = $$1} END {print "   " took " s"}' $(CLOCK)
TOOK_IN_ALL = @awk '{started = started ? started : $$1} END {print "   " $$1 - started " s in all"}' $(CLOCK)

# A server's whole program: TensorFlow, the exported folder, texts in, labels out.
define ANSWER
import json, sys
import tensorflow as tf
classify = tf.saved_model.load(sys.argv[1]).signatures["classify_text"]
texts = [json.loads(line)["text"] for line in open(sys.argv[2], encoding="utf-8")]
for label in classify(text=tf.constant(texts))["labels"].numpy():
    print(label.decode())
assert "gpt_tf" not in sys.modules
endef
export ANSWER

# The sample's own promises: fewer bits than a trigram, and pre-training ahead of what knows less.
define COMPARE
import glob, json, os, re, sys
folder = sys.argv[1]
text = open(f"{folder}/perplexity.txt", encoding="utf-8").read()
ours, trigram = (float(re.search(rf"^  {name} +([\d.,]+)", text, re.M)[1].replace(",", ""))
                 for name in ("perplexity", "trigram perplexity"))
path = max(glob.glob(f"{folder}/feeling/evaluations/*-test-*.json"), key=os.path.getmtime)
scores = {name: each["accuracy"] for name, each in json.load(open(path))["scores"].items()}
tuned, scratch, words = (scores[name] for name in (
    "fine-tuned", f"{folder}/feeling-from-scratch", "bag of words"))
print(f"Perplexity {ours:.2f}, trigram {trigram:.2f}; accuracy {tuned:.3f} pre-trained, "
      f"{words:.3f} bag of words, {scratch:.3f} from scratch.")
# By more than chance: the standard error of 400 rows is 0.025.
if not (ours < trigram and tuned > words + 0.1 and words > scratch + 0.1):
    sys.exit("error: pre-training should be ahead of a trigram, and by 0.1 of a bag of words, and "
             "that of training from scratch: something is wrong here.")
endef
export COMPARE

# What the model that comes with gpt_tf is worth, from the file that step 11 saved.
define TABLE
import glob, json, os, sys
folder = sys.argv[1]
path = max(glob.glob(f"{folder}/reviews/evaluations/*.json"), key=os.path.getmtime)
found = json.load(open(path))
scores = {"gpt_tiny_en, fine-tuned": "fine-tuned", "bag of words": "bag of words",
          "from scratch": f"{folder}/reviews-from-scratch"}
scores = {name: found["scores"][each]["accuracy"] for name, each in scores.items()}
print(f"Accuracy on {found['rows']} reviews that none has seen:")
for name, score in scores.items():
    print(f"  {name:25} {score:.3f}")
if scores["gpt_tiny_en, fine-tuned"] < 0.6:  # three standard errors above a coin
    sys.exit("error: the fine-tuned model should be far above 0.5: something is wrong here.")
endef
export TABLE

.PHONY: environment quickstart quickstart-pretrain quickstart-finetune quickstart-export \
  quickstart-english test test-peers test-installed clean

environment: $(VENV)/.complete $(if $(GPU),$(VENV)/.gpu)

$(VENV)/.complete: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 - 3.13 found: name one, as in make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "== An environment in $(VENV), of $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)
	@echo "== The packages of requirements.txt: some 3 GB on disk, minutes"
	$(RUN) -m pip install --disable-pip-version-check -r requirements.txt
	@echo "== gpt-tf, the script that runs every command of this checkout, from any folder"
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
	@$(if $(GPU),,test ! -e /dev/nvidia0 || echo "Here is an NVIDIA GPU: make environment GPU=1 gives TensorFlow what it needs for it")

$(VENV)/.gpu: $(VENV)/.complete
	@echo "== CUDA's libraries for TensorFlow of requirements.txt: some 3 GB to fetch"
	$(RUN) -m pip install --disable-pip-version-check -r requirements.txt --editable '.[gpu]'
	@touch $@

# What the sample task is fine-tuned from scratch with: the shape of quickstart.flags.
SHAPE = --num_layers=2 --num_heads=4 --hidden_dim=128 --intermediate_dim=512 \
  --max_sequence_length=256

# The shape of gpt_tiny_en, to train from scratch beside it.
TINY_SHAPE = --num_layers=4 --num_heads=4 --hidden_dim=128 --intermediate_dim=512 \
  --max_sequence_length=256

# The sample task is about the sample stories: on your own text the chain ends with a text.
quickstart: quickstart-pretrain $(if $(CORPUS),,quickstart-english)
	$(TOOK_IN_ALL)
	@echo
	@echo "Made in $(QUICKSTART)/: bpe (tokenizer), data (TFRecords), run (checkpoints, metrics.jsonl, TensorBoard)$(if $(CORPUS),,; feeling-data and feeling (the task and its classifier), exported (the SavedModel), reviews-data and reviews (English))."
	@echo "Next:"
	@echo "  $(VENV)/bin/tensorboard --logdir $(QUICKSTART)"
	@echo "  $(RUN) -m gpt_tf.generate --model_dir=$(QUICKSTART)/run --prompt='$(PROMPT)'"
	@$(if $(CORPUS),,echo "  echo 'A dog ran off with the hat of Tom.' | $(RUN) -m gpt_tf.predict --model_dir=$(QUICKSTART)/feeling --probabilities")
	@$(if $(CORPUS),,echo "  echo 'Dull, but never unkind.' | $(RUN) -m gpt_tf.predict --model_dir=$(QUICKSTART)/reviews --probabilities")
	@$(if $(CORPUS),,echo "  $(VENV)/bin/saved_model_cli run --dir $(QUICKSTART)/exported/1 --tag_set serve --signature_def classify_text --input_exprs 'text=[\"A dog ran off with the hat of Tom.\"]'")
	@$(if $(CORPUS),,echo "  make quickstart CORPUS='books/*.txt'      the same on your own text")

quickstart-pretrain: environment
	$(START_CLOCK)
	@echo "== 1. Text"
	$(if $(CORPUS),@echo "your own: $(CORPUS)",$(RUN) -m pipelines.stories --output=$(TEXT) --megabytes=3 --overwrite)
	$(TOOK)
	@echo "== 2. A byte-pair vocabulary of $(MERGES) merges"
	$(RUN) -m pipelines.train_bpe --input='$(TEXT)' --output_dir=$(QUICKSTART)/bpe \
	  --num_merges=$(MERGES) --overwrite
	$(TOOK)
	@echo "== 3. TFRecords"
	$(RUN) -m pipelines.build_corpus --input='$(TEXT)' --tokenizer=$(QUICKSTART)/bpe \
	  --output_dir=$(QUICKSTART)/data --sequence_length=256 --overwrite
	$(TOOK)
	@echo "== 4. Pre-training"
	$(RUN) -m gpt_tf.pretrain --flagfile=gpt_tf/flagfiles/$(FLAGS) \
	  --data_dir=$(QUICKSTART)/data --model_dir=$(QUICKSTART)/run
	$(TOOK)
	@echo "== 5. Held-out perplexity, beside a smoothed trigram's on the same tokens"
	$(RUN) -m gpt_tf.evaluate --model_dir=$(QUICKSTART)/run --data_dir=$(QUICKSTART)/data --trigram \
	  > $(QUICKSTART)/perplexity.txt
	@cat $(QUICKSTART)/perplexity.txt
	$(TOOK)
	@echo "== 6. A text"
	$(RUN) -m gpt_tf.generate --model_dir=$(QUICKSTART)/run --top_p=0.9 --max_new_tokens=100 \
	  --prompt='$(PROMPT)'
	$(TOOK)

quickstart-finetune: quickstart-pretrain
	@echo "== 7. A task: what the hero of a story feels, from 64 labelled rows"
	$(RUN) -m pipelines.story_tasks --task=feeling --train_rows=64 \
	  --output_dir=$(QUICKSTART)/feeling-rows --overwrite
	$(RUN) -m pipelines.build_task --task=$(QUICKSTART)/feeling-rows/spec.json \
	  --input=$(QUICKSTART)/feeling-rows --tokenizer=$(QUICKSTART)/run --max_length=128 \
	  --output_dir=$(QUICKSTART)/feeling-data --overwrite
	$(TOOK)
	@echo "== 8. Fine-tuning: from the run, and as many updates from scratch"
	$(RUN) -m gpt_tf.finetune --flagfile=gpt_tf/flagfiles/quickstart_finetune.flags \
	  --data_dir=$(QUICKSTART)/feeling-data --init_from=$(QUICKSTART)/run \
	  --model_dir=$(QUICKSTART)/feeling
	$(RUN) -m gpt_tf.finetune --flagfile=gpt_tf/flagfiles/quickstart_finetune.flags \
	  --data_dir=$(QUICKSTART)/feeling-data --init_from=none $(SHAPE) \
	  --model_dir=$(QUICKSTART)/feeling-from-scratch
	$(TOOK)
	@echo "== 9. Accuracy on the test rows, beside from scratch and a bag of words"
	$(RUN) -m gpt_tf.evaluate --model_dir=$(QUICKSTART)/feeling \
	  --data_dir=$(QUICKSTART)/feeling-data --split=test \
	  --beside=$(QUICKSTART)/feeling-from-scratch --bag_of_words
	@$(RUN) -c "$$COMPARE" $(QUICKSTART)
	$(TOOK)

quickstart-export: quickstart-finetune
	@echo "== 10. The classifier as a SavedModel: strings in, labels out, with TensorFlow alone"
	$(RUN) -m gpt_tf.export --model_dir=$(QUICKSTART)/feeling \
	  --output_dir=$(QUICKSTART)/exported --version=1 --overwrite
	$(RUN) -m gpt_tf.predict --model_dir=$(QUICKSTART)/feeling \
	  --input=$(QUICKSTART)/feeling-rows/test.jsonl --output=$(QUICKSTART)/predicted.tsv
	$(RUN) -c "$$ANSWER" $(QUICKSTART)/exported/1 $(QUICKSTART)/feeling-rows/test.jsonl \
	  > $(QUICKSTART)/served.tsv 2> $(QUICKSTART)/served.log \
	  || { cat $(QUICKSTART)/served.log; exit 1; }
	@cmp $(QUICKSTART)/predicted.tsv $(QUICKSTART)/served.tsv
	@echo "All $$(wc -l < $(QUICKSTART)/served.tsv) answers are those of gpt_tf.predict; the first:"
	@head -n 3 $(QUICKSTART)/served.tsv
	$(TOOK)

quickstart-english: quickstart-export
	@echo "== 11. English: the model that comes with gpt_tf, on 200 labelled reviews"
	$(RUN) -m pipelines.build_task --task=reviews --tokenizer=gpt_tiny_en \
	  --output_dir=$(QUICKSTART)/reviews-data --overwrite
	$(RUN) -m gpt_tf.finetune --flagfile=gpt_tf/flagfiles/quickstart_finetune.flags \
	  --learning_rate=1e-3 --data_dir=$(QUICKSTART)/reviews-data --init_from=gpt_tiny_en \
	  --model_dir=$(QUICKSTART)/reviews
	$(RUN) -m gpt_tf.finetune --flagfile=gpt_tf/flagfiles/quickstart_finetune.flags \
	  --learning_rate=1e-3 --data_dir=$(QUICKSTART)/reviews-data --init_from=none $(TINY_SHAPE) \
	  --model_dir=$(QUICKSTART)/reviews-from-scratch
	$(RUN) -m gpt_tf.evaluate --model_dir=$(QUICKSTART)/reviews \
	  --data_dir=$(QUICKSTART)/reviews-data --weights=newest \
	  --beside=$(QUICKSTART)/reviews-from-scratch --bag_of_words
	@$(RUN) -c "$$TABLE" $(QUICKSTART)
	$(TOOK)

# Two processes of up to 5 GiB each; a file's tests share what its fixtures made. Files are handed
# out in tests/conftest.py's order, not by their number of tests, of which the slowest have few.
PYTEST = $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.complete
	$(RUN) -m ruff check
	$(PYTEST) --ignore=tests/peers

# Beam stands beside the peers: all of its pins suit theirs, and protobuf's release is Beam's then.
$(VENV)/.peers: $(VENV)/.complete requirements-peers.txt requirements-beam.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt \
	  -r requirements-beam.txt
	@touch $@

test-peers: $(VENV)/.peers
	$(PYTEST) tests/peers

# The wheel in an environment of its own, used from another folder.
test-installed: $(VENV)/.complete
	tests/installed.sh $(RUN)

clean:
	rm -rf $(VENV) quickstart quickstart-own
