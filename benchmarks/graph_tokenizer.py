"""The tokenizer of exported models beside `gpt_tf.tokenizer`: agreement, differences, speed.

  python -m benchmarks.graph_tokenizer --input='books/*.txt' --tokenizer=bpe

Every second file, in the order of their names, is read; a text is a paragraph. The tokenizer may be
of either kind; of a byte-level one no paragraph may differ. MB are 10^6 bytes of UTF-8. The graph
gets `--batch_size` texts at a time and remembers nothing from one batch to the next; the tokenizer
in Python gets one text at a time and remembers chunks ("cold" is its first pass over them).
"""

import time
import unicodedata

from absl import flags

from benchmarks import agreement, report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import cleaning

_INPUT = flags.DEFINE_string("input", None, "Glob of UTF-8 text files.")
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "Folder with a tokenizer's files.")
_BATCHES = flags.DEFINE_list("batch_size", ["1", "32", "1000"], "Texts at once, in turn.")
_EXAMPLES = flags.DEFINE_integer("examples", 3, "Differences shown of each kind.")


def kind_of(paragraph: str, tokenizer) -> str:
    """Why the graph may read a paragraph otherwise, as far as the text shows it."""
    from gpt_tf.tokenizer import WordTokenizer
    from gpt_tf.tokenizer.words import splitter_of

    if not isinstance(tokenizer, WordTokenizer):
        return "a defect"
    splitter = splitter_of(tokenizer.language)

    if not unicodedata.is_normalized("NFC", paragraph):
        return "marks that join letters"
    if agreement.is_repaired(paragraph):
        return "repairs of ftfy"
    chunks = cleaning.standardise(cleaning.clean(paragraph)).split()
    if any(splitter.split_chunk(chunk) is None for chunk in chunks):
        return "special cases that reach over chunks"
    return "others"


def measure_speed(paragraphs, encode, tokenizer_folder) -> None:
    """Prints the graph's rates by batch size, and those of the tokenizer in Python."""
    from gpt_tf.tokenizer import Tokenizer
    rows = []
    for size in map(int, _BATCHES.value):
        some = paragraphs[:max(2000, size)]
        encode(some[:size])  # the first call compiles its patterns
        start = time.perf_counter()
        for place in range(0, len(some), size):
            encode(some[place:place + size])
        rows.append([f"graph, {size} at once", *_rates(some, start)])
    tokenizer = Tokenizer.load(tokenizer_folder)
    tokenizer.encode(paragraphs[-1])
    for name in ("Python, cold", "Python, again"):
        start = time.perf_counter()
        tokenizer.encode_batch(paragraphs[:2000])
        rows.append([name, *_rates(paragraphs[:2000], start)])
    print(report.markdown_table(["side", "MB/s", "texts/s"], rows))


def _rates(paragraphs, start: float) -> list[str]:
    seconds = time.perf_counter() - start
    size = sum(len(each.encode()) for each in paragraphs) / 1e6
    return [f"{size / seconds:.2f}", f"{len(paragraphs) / seconds:,.0f}"]


def main() -> None:
    """Measures and prints."""
    if not _INPUT.value or not _TOKENIZER.value:
        raise UserError("Name the text with --input='books/*.txt' and the tokenizer's "
                              "folder with --tokenizer.")
    cli.import_tensorflow()
    import tensorflow as tf

    from gpt_tf.serving import graph_tokenizer
    from gpt_tf.tokenizer import Tokenizer

    paragraphs = agreement.read_paragraphs(_INPUT.value, step=2)
    tokenizer = Tokenizer.load(_TOKENIZER.value)
    graph = graph_tokenizer.build(tokenizer)

    def encode(texts):
        return graph.encode(tf.constant(texts))

    print(report.describe_machine(["tensorflow", *tokenizer.libraries]) + "\n")
    agreement.measure("graph", paragraphs, lambda texts: encode(texts).to_list(), tokenizer,
                      lambda paragraph: kind_of(paragraph, tokenizer), _EXAMPLES.value)
    print()
    measure_speed(paragraphs, encode, _TOKENIZER.value)


if __name__ == "__main__":
    cli.run(main)
