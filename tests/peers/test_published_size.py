"""Weights of exactly the published shapes, in and out, which takes 20 seconds."""

import numpy as np

from gpt_tf.config import ModelConfig
from gpt_tf.runs import run_folder
from gpt_tf.tokenizer import WordTokenizer
from tests.converted import from_run, read_released, to_run, write_released


def test_the_published_size(tmp_path):
    """A folder of exactly the published shapes: 116,534,784 values, there and back."""
    paper = ModelConfig()
    tokens = ["<unk>", *(f"t{index}</w>" for index in range(paper.vocabulary_size - 2)), "\n</w>"]
    tokenizer = WordTokenizer({token: index for index, token in enumerate(tokens)}, [])
    arrays = write_released(tmp_path / "model", tokenizer, (
        paper.num_layers, paper.num_heads, paper.hidden_dim, paper.intermediate_dim,
        paper.max_sequence_length))
    told = to_run("openai", tmp_path / "model", tmp_path / "run")
    assert "116,534,784 parameters, 12 layers, 12 heads, 40,478 tokens" in told[0]
    assert run_folder.load_config(str(tmp_path / "run")) == paper
    from_run("openai", tmp_path / "run", tmp_path / "out")
    flat, shapes = read_released(tmp_path / "out")
    assert shapes[:4] == [[512, 768], [40478, 768], [1, 768, 2304], [2304]] and len(shapes) == 146
    np.testing.assert_array_equal(flat, np.concatenate([each.ravel() for each in arrays.values()]))
