# Two commands on a new machine: make quickstart, make test. They need Python 3.11 - 3.13 and a
# package registry, and make everything else.

# The first of these that runs: a name can be there and be another version manager's stub.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
  && echo $$p && break; done)
VENV ?= .venv
RUN = $(VENV)/bin/python

# Text of your own: make quickstart CORPUS='books/*.txt'
CORPUS ?=
QUICKSTART ?= quickstart$(if $(CORPUS),-own)
MERGES ?= $(if $(CORPUS),4000,1500)
PROMPT ?= $(if $(CORPUS),It was,This is the story of)
TEXT = $(if $(CORPUS),$(CORPUS),$(QUICKSTART)/stories.jsonl)

.PHONY: environment quickstart test test-peers clean

environment: $(VENV)/.complete

$(VENV)/.complete: requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 - 3.13 found: name one, as in make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

quickstart: $(VENV)/.complete
	@mkdir -p $(QUICKSTART)
	@echo "== 1. Text"
	$(if $(CORPUS),@echo "your own: $(CORPUS)",$(RUN) -m pipelines.stories --output=$(TEXT) --megabytes=3 --overwrite)
	@echo "== 2. A byte-pair vocabulary of $(MERGES) merges"
	$(RUN) -m pipelines.train_bpe --input='$(TEXT)' --output_dir=$(QUICKSTART)/bpe \
	  --num_merges=$(MERGES) --overwrite
	@echo "== 3. TFRecords"
	$(RUN) -m pipelines.build_corpus --input='$(TEXT)' --tokenizer=$(QUICKSTART)/bpe \
	  --output_dir=$(QUICKSTART)/data --sequence_length=256 --overwrite
	@echo "== 4. Pre-training"
	$(RUN) -m gpt_tf.pretrain --flagfile=gpt_tf/flagfiles/quickstart.flags \
	  --data_dir=$(QUICKSTART)/data --model_dir=$(QUICKSTART)/run
	@echo "== 5. Held-out perplexity, beside a smoothed trigram's on the same tokens"
	$(RUN) -m gpt_tf.evaluate --model_dir=$(QUICKSTART)/run --data_dir=$(QUICKSTART)/data --trigram
	@echo "== 6. A text"
	$(RUN) -m gpt_tf.generate --model_dir=$(QUICKSTART)/run --top_p=0.9 --max_new_tokens=100 \
	  --prompt='$(PROMPT)'
	@echo
	@echo "Made in $(QUICKSTART)/: bpe (tokenizer), data (TFRecords), run (checkpoints, metrics.jsonl, TensorBoard)."
	@echo "Next:"
	@echo "  $(VENV)/bin/tensorboard --logdir $(QUICKSTART)"
	@echo "  $(RUN) -m gpt_tf.generate --model_dir=$(QUICKSTART)/run --prompt='...'"
	@echo "  make quickstart CORPUS='books/*.txt'      the same on your own text"

test: $(VENV)/.complete
	$(RUN) -m pytest

$(VENV)/.peers: $(VENV)/.complete requirements-peers.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	@touch $@

test-peers: $(VENV)/.peers
	$(RUN) -m pytest tests/peers

clean:
	rm -rf $(VENV) quickstart quickstart-own
