"""Exports a run as a SavedModel that plain TensorFlow and TensorFlow Serving load.

  python -m gpt_tf.export --model_dir=runs/sst2 --output_dir=exported/sst2
  saved_model_cli show --dir exported/sst2/1 --all

Signatures of every run: logits, score, generate; of a fine-tuned one also classify. With _text
behind their names the last three take strings: the tokenizer is in the graph.
"""

import os

from absl import flags

from gpt_tf.common import cli


def main() -> None:
    """Exports, and says what to do with it."""
    cli.import_tensorflow()  # here, so that --help does not wait for it
    from gpt_tf.serving import saved_model

    values = flags.FLAGS
    version = values.version or saved_model.next_version(values.output_dir)
    saved_model.check_free(os.path.join(values.output_dir, str(version)), values.overwrite)
    served = saved_model.build(values.model_dir)
    target = saved_model.save(served, values.output_dir, version, values.overwrite)
    size = sum(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk(target) for name in names)
    print(f"{target}: update {served.step:,} of {values.model_dir}, {size / 2**20:,.1f} MiB.")
    print(f"Signatures: {', '.join(sorted(served.signatures))}.")
    if not any(name.endswith("_text") for name in served.signatures):
        print("The tokenizer is not of English: there are no signatures that take strings.")
    print(f"What they take and give: saved_model_cli show --dir {target} --all")


if __name__ == "__main__":
    flags.DEFINE_string("model_dir", None, "Run folder.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of the versions.", required=True)
    flags.DEFINE_integer("version", 0, "Number of the version; 0: the next free one.",
                         lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace the version that stands there.")
    cli.run(main)
