"""Text -> token ids -> text in a TensorFlow graph, of core ops only.

It travels inside a SavedModel and needs no package beside TensorFlow.
"""

from gpt_tf.serving.graph_byte_level import GraphByteLevelTokenizer
from gpt_tf.serving.graph_word_level import GraphWordTokenizer
from gpt_tf.tokenizer import ByteLevelTokenizer, Tokenizer, WordTokenizer

GraphTokenizer = GraphByteLevelTokenizer | GraphWordTokenizer
_KINDS = {ByteLevelTokenizer.kind: GraphByteLevelTokenizer, WordTokenizer.kind: GraphWordTokenizer}


def build(tokenizer: Tokenizer) -> GraphTokenizer:
    """A tokenizer as part of a graph.

    Example:
      graph = graph_tokenizer.build(Tokenizer.load("bpe"))
      graph.decode(graph.encode(tf.constant(["Hello world"])))

    Args:
      tokenizer: its vocabulary, merges and rules become tables of the graph.

    Raises:
      UserError: the tokenizer is of a language whose rules do not fit a graph.
    """
    return _KINDS[tokenizer.kind](tokenizer)
