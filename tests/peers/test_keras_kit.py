"""KerasHub's own checks of tokenizers and preprocessors, with its Grain pipelines, on ours."""

import pytest

pytest.importorskip("grain", reason="KerasHub's test kit needs Grain: pip install grain")
from keras_hub.src.tests.test_case import TestCase

from gpt_tf import GPTCausalLMPreprocessor, GPTTextClassifierPreprocessor, GPTTokenizer
from gpt_tf.tokenizer import Tokenizer
from tests import corpora

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
TEXTS = ["the cat", "and a dog in"]


@pytest.mark.usefixtures("arguments")
class TestTexts(TestCase):
    """The kit looks for the arguments of a preprocessor in `init_kwargs`."""

    @pytest.fixture(name="arguments")
    def arguments_fixture(self, tokenizer_dir):
        tokenizer = Tokenizer.load(tokenizer_dir)
        self.of_tokenizer = {
            "vocabulary": {token: index for index, token in enumerate(tokenizer.tokens)},
            "merges": list(map(" ".join, tokenizer.merges))}
        self.init_kwargs = {"tokenizer": GPTTokenizer(**self.of_tokenizer), "sequence_length": 8}

    def test_tokenizer(self):
        self.run_preprocessing_layer_test(GPTTokenizer, self.of_tokenizer, TEXTS)

    def test_causal_lm_preprocessor(self):
        self.run_preprocessor_test(GPTCausalLMPreprocessor, self.init_kwargs, TEXTS)

    def test_classifier_preprocessor(self):
        self.run_preprocessor_test(GPTTextClassifierPreprocessor, self.init_kwargs,
                                   (TEXTS, [0, 1], [1.0, 2.0]))

    def test_classifier_preprocessor_of_pairs(self):
        self.init_kwargs |= {"form": "similarity"}
        self.run_preprocessor_test(GPTTextClassifierPreprocessor, self.init_kwargs,
                                   ((TEXTS, ["a", "b"]), [0, 1], [1.0, 2.0]))
