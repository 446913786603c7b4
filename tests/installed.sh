#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh environment, and goes from text to text with its
# commands in a folder that is not the checkout: flagfiles, data and scripts must be in the wheel.
#   tests/installed.sh PYTHON     of an environment with the packages of requirements.txt
set -euo pipefail
python=${1:?usage: tests/installed.sh PYTHON}
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
unset PYTHONPATH
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 PIP_DISABLE_PIP_VERSION_CHECK=1

echo "== The wheel"
# Of a copy: setuptools leaves folders beside what it builds, and packs what lies in an old one.
mkdir "$work/source"
cp -r pyproject.toml README.md LICENSE gpt_tf pipelines "$work/source"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" "$work/source"

echo "== A fresh environment"
"$python" -m venv --without-pip "$work/environment"
here=$work/environment/bin
"$python" -m pip --python "$here/python" install --quiet --no-deps "$work"/gpt_tf-*.whl
# Only gpt_tf and pipelines are new: gigabytes of other packages are those of PYTHON's environment,
# whose own gpt_tf, if it has one, stands behind the wheel's.
folder=$("$here/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$folder/others.pth"

echo "== A chain of commands"
mkdir "$work/elsewhere"
cd "$work/elsewhere"
PATH=$here:$PATH
python -c "
import gpt_tf, importlib.metadata, pipelines, sys
for package in (gpt_tf, pipelines):
    assert package.__file__.startswith(sys.prefix), package
assert importlib.metadata.version('gpt_tf') == gpt_tf.__version__"
gpt-tf
gpt-tf stories --output=stories.jsonl --megabytes=0.2
gpt-tf train_bpe --input=stories.jsonl --output_dir=bpe --num_merges=300
gpt-tf build_corpus --input=stories.jsonl --tokenizer=bpe --output_dir=data --sequence_length=32
gpt-tf pretrain --flagfile=quickstart.flags --data_dir=data --model_dir=run --num_layers=1 \
  --hidden_dim=16 --intermediate_dim=32 --max_sequence_length=32 --warmup_steps=1 --num_steps=4 \
  --evaluation_batches=1
grep -q -x -e '--learning_rate=0.006' run/pretrain.flags  # as quickstart.flags has it
gpt-tf generate --model_dir=run --prompt='This is the story of' --max_new_tokens=8
gpt-tf evaluate --model_dir=run --data_dir=data | grep perplexity
echo "== A model that is in the wheel"
gpt-tf generate --model_dir=gpt_tiny_en --prompt='It was a' --max_new_tokens=8
gpt-tf build_task --task=reviews --tokenizer=gpt_tiny_en --output_dir=reviews
gpt-tf finetune --flagfile=quickstart_finetune.flags --data_dir=reviews --init_from=gpt_tiny_en \
  --model_dir=classifier --num_epochs=0.2
echo 'A lovely day.' | gpt-tf predict --model_dir=classifier | grep -x -E 'positive|negative'
echo "The installed package works."
