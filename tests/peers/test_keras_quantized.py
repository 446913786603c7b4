"""Models that Keras has quantized."""

import numpy as np
import pytest

from gpt_tf import GPTCausalLM
from gpt_tf.common.errors import UserError
from gpt_tf.sources import resolve
from tests import corpora, test_keras
from tests.test_keras import TEXTS, inputs_of

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
run_fixture = test_keras.run_fixture
model_fixture = test_keras.model_fixture
pytestmark = [*test_keras.pytestmark, pytest.mark.filterwarnings(
    "ignore:Layer .* does not have a `quantize` method")]


def test_int8_changes_every_kernel(model, tmp_path, tokenizer, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inputs = inputs_of(tokenizer, TEXTS[0])
    before = model(inputs).numpy()
    model.quantize("int8")
    kernels = [v for v in model.variables if v.path.endswith(("kernel", "embeddings"))]
    assert len(kernels) == 2 * 6 + 2 and {v.dtype for v in kernels} == {"int8"}
    after = model(inputs).numpy()
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()
    model.compile(sampler="greedy")
    text = model.generate("the cat", max_length=12)
    model.save_to_preset(tmp_path / "preset")
    loaded = GPTCausalLM.from_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(loaded(inputs), after)
    loaded.compile(sampler="greedy")
    assert loaded.generate("the cat", max_length=12) == text
    with pytest.raises(UserError, match="cannot become a run folder: .* are quantized"):
        resolve.run_folder(str(tmp_path / "preset"))
    assert not list(tmp_path.glob("cache/gpt_tf/*/"))
