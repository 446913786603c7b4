"""GPT-1 by its handle, at the published size and layout, against transformers' own program.

Needs requirements-peers.txt and the development data. The published weights cannot be had where
tests run: random ones, as transformers saves them, stand for them on a hub on loopback.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs requirements-peers.txt")
transformers = pytest.importorskip("transformers", reason="needs requirements-peers.txt")

from gpt_tf import GPTCausalLM, GPTTextClassifier, GPTTokenizer
from gpt_tf.hub import models
from gpt_tf.tokenizer import Tokenizer
from tests.conftest import REPOSITORY
from tests.hub import Hub

HANDLE = "hf://openai-community/openai-gpt"
TEXTS = ["It was a dark and stormy night, and the rain fell in torrents.",
         "\"I don't know,\" said she; \"ask him yourself when he comes home in the evening.\""]
NEW_TOKENS = 12
# What a process takes: seconds of from_preset, and the most MiB that it held before and behind it.
MEASURED = """
import json, re, time
def held(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
from gpt_tf import GPTCausalLM
before, start = held(), time.monotonic()
model = GPTCausalLM.from_preset("{handle}")
print(json.dumps([time.monotonic() - start, before, held()]))
"""


@pytest.fixture(name="published", scope="module")
def published_fixture(tmp_path_factory, shared_data):
    """transformers' model, and the hub that has it with the published vocabulary, in use."""
    base = tmp_path_factory.mktemp("published")
    folder = base / "hub" / "openai-community" / "openai-gpt"
    torch.manual_seed(0)
    model = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig()).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains, too
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(folder)
    shutil.copy(shared_data / "gpt1_bpe" / "encoder_bpe_40000.json", folder / "vocab.json")
    shutil.copy(shared_data / "gpt1_bpe" / "vocab_40000.bpe", folder / "merges.txt")
    with Hub(base / "hub") as hub, hub.used(base / "hf" / "hub"), (
            pytest.MonkeyPatch.context()) as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield model, hub, base
    shutil.rmtree(base)  # 1.5 GB


@pytest.fixture(name="ours", scope="module")
def ours_fixture(published):
    return GPTCausalLM.from_preset(HANDLE)


def test_logits_and_loss(published, ours):
    theirs, hub, _ = published
    assert [path.rsplit("/", 1)[1] for method, path in hub.requests
            if method == "GET" and "/resolve/" in path] == [
        "config.json", "merges.txt", "model.safetensors", "vocab.json"]
    assert ours.backbone.config.num_parameters == theirs.num_parameters() == 116_534_784
    for text in TEXTS:
        ids = np.array([ours.preprocessor.tokenizer(text)], np.int64)
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor(ids), labels=torch.tensor(ids))
        logits = np.asarray(ours.score(ids))
        np.testing.assert_allclose(logits, expected.logits.numpy(), rtol=0, atol=1e-5)
        losses = ours.score(ids[:, :-1], scoring_mode="loss", target_ids=ids[:, 1:])
        assert np.mean(losses) == pytest.approx(expected.loss.item(), abs=1e-6)


def test_greedy_generation(published, ours):
    theirs, _, _ = published
    ours.compile(sampler="greedy")
    for text in TEXTS:
        prompt = np.asarray(ours.preprocessor.tokenizer(text))
        expected = torch.tensor(prompt[None], dtype=torch.int64)
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                best = theirs(input_ids=expected).logits[:, -1:].argmax(-1)
                expected = torch.cat([expected, best], dim=1)
        inputs = ours.preprocessor.generate_preprocess(
            [text], sequence_length=len(prompt) + NEW_TOKENS)
        found = ours.generate_step(inputs)["token_ids"]
        np.testing.assert_array_equal(found, expected.numpy())


def test_the_others_take_the_handle(published, ours):
    _, hub, base = published
    hub.requests.clear()
    tokenizer = GPTTokenizer.from_preset(HANDLE)
    assert tokenizer.vocabulary_size() == 40_478
    for text in TEXTS:
        np.testing.assert_array_equal(tokenizer(text), ours.preprocessor.tokenizer(text))
    classifier = GPTTextClassifier.from_preset(HANDLE, num_classes=2)
    assert classifier.predict(TEXTS, verbose=0).shape == (2, 2)
    np.testing.assert_array_equal(
        classifier.backbone.gpt.embedding.token.embeddings[:40_478],
        ours.backbone.gpt.embedding.token.embeddings)
    assert not [path for _, path in hub.requests if "/resolve/" in path]
    assert Tokenizer.load(models.local(HANDLE)).vocabulary_size == 40_478


def test_time_and_memory(published, tmp_path):
    """The first from_preset of a machine, and the next, which needs no network."""
    _, hub, _ = published
    environment = os.environ | hub.environment(tmp_path) | {"XDG_CACHE_HOME": str(tmp_path)}
    measured = [json.loads(subprocess.run(
        [sys.executable, "-c", MEASURED.format(handle=HANDLE)], env=environment | more, check=True,
        cwd=REPOSITORY, capture_output=True, text=True).stdout)
        for more in ({}, {"HF_HUB_OFFLINE": "1"})]
    (first, before, peak), (second, _, again) = measured
    print(f"first {first:.1f} s, {peak - before:.0f} MiB; next {second:.1f} s, "
          f"{again - before:.0f} MiB")
    assert second < first
    weights = 116_534_784 * 4 / 2**20  # MiB
    assert peak - before < 3.5 * weights and again - before < 2.3 * weights
    shutil.rmtree(tmp_path)
