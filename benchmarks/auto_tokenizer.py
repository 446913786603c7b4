"""transformers' `AutoTokenizer` on the files we write for it, beside our ids: what differs.

  python -m benchmarks.auto_tokenizer --input='books/*.txt' --tokenizer=bpe

A text is a paragraph of any file. A paragraph of other ids is counted with the repairs of ftfy if
these reach over a character, else with the first chunk between white space that alone has others.
"""

import re
import tempfile

from absl import flags

from benchmarks import agreement, report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.interop import tokenizer_json
from gpt_tf.tokenizer import Tokenizer, cleaning

# What a chunk shows -> its kind; the first that is found.
_KINDS = {r"''": "two apostrophes", r"(?<!\w)'\w": "words that begin with an apostrophe",
          r"\w\.": "abbreviations", "": "others"}

_INPUT = flags.DEFINE_string("input", None, "Glob of UTF-8 text files.")
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "Folder with a tokenizer's files.")
_EXAMPLES = flags.DEFINE_integer("examples", 3, "Differences shown of each kind.")


def main() -> None:
    """Measures and prints."""
    if not _INPUT.value or not _TOKENIZER.value:
        raise UserError("Name the text with --input='books/*.txt' and the tokenizer's "
                        "folder with --tokenizer.")
    import transformers

    paragraphs = agreement.read_paragraphs(_INPUT.value)
    tokenizer = Tokenizer.load(_TOKENIZER.value)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_json.write(folder, tokenizer)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)

    def kind_of(paragraph: str) -> str:
        if agreement.is_repaired(paragraph):
            return "repairs of ftfy"
        chunks = cleaning.standardise(cleaning.clean(paragraph)).split()
        chunk = next((chunk for chunk in chunks
                      if theirs.encode(chunk) != tokenizer.encode(chunk)), "")
        return next(kind for pattern, kind in _KINDS.items() if re.search(pattern, chunk))

    print(report.describe_machine(["transformers", "tokenizers", "ftfy", "spacy"]) + "\n")
    agreement.measure("AutoTokenizer", paragraphs, lambda texts: theirs(texts)["input_ids"],
                      tokenizer, kind_of, _EXAMPLES.value)


if __name__ == "__main__":
    cli.run(main)
