"""Pictures with a line of text each, as files and as one page that needs no other file."""

import base64
from collections.abc import Sequence
import dataclasses
import html
import io
import os
import re
import textwrap
import warnings

from matplotlib.figure import Figure
from matplotlib.text import Text

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder, explain_disk_errors
from gpt_tf.common.names import in_utf8

PAGE = "report.html"
# Names of pictures; of several runs they end in a number.
_PICTURES = (r"(loss|finetuning|progress|lengths|words|labels|positions|scatter|confusion|"
             r"reliability|attention)(-\d+)?\.png")

_HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
img {{ max-width: 100%; height: auto; }}
code {{ background: #eee; padding: 0.1em 0.3em; }}
</style>
<h1>{title}</h1>
<p>Made by <code>{command}</code></p>
"""
_SECTION = """<h2>{title}</h2>
<p>{text}</p>
<img alt="{title}" src="data:image/png;base64,{png}">
"""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure, and what is said of it.

    name: of its file, without an ending.
    title: what it shows; stands above the figure, too.
    text: what it shows and how it was measured, in a line.
    """

    name: str
    title: str
    text: str
    figure: Figure

    def png(self) -> bytes:
        """The picture. Characters that the machine's fonts lack are boxes in it."""
        width, _ = self.figure.get_size_inches()
        self.figure.suptitle(textwrap.fill(self.title, int(10 * width)), fontsize=12,
                             parse_math=False)
        for each in self.figure.findobj(Text):
            each.set_text(in_utf8(each.get_text()))
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            # Without the name of the program: its releases would draw other bytes.
            self.figure.savefig(stream, format="png", metadata={"Software": None})
        return stream.getvalue()


def check_target(folder: str, overwrite: bool) -> None:
    """Sees that a report may be made in `folder`, before anything is measured.

    Raises:
      UserError: it holds an earlier report that may not be replaced, or anything else.
    """
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder) or os.path.islink(folder):
        raise UserError(f"--output_dir={folder} is no folder of its own: name another.")
    names = os.listdir(folder)
    others = sorted(name for name in names
                    if name != PAGE and not re.fullmatch(_PICTURES, name))
    if names and (others or PAGE not in names):
        raise UserError(f"--output_dir={folder} holds other files, such as "
                        f"{(others or sorted(names))[0]}: name a new or empty folder.")
    if names and not overwrite:
        raise UserError(f"--output_dir={folder} holds an earlier report: name another folder, or "
                        "replace this one with --overwrite.")


def write(folder: str, command: str, pictures: Sequence[Picture]) -> None:
    """Makes the folder, whole or not at all.

    Args:
      folder: one that `check_target` found free; an earlier report is replaced.
      command: that made the report.
      pictures: of names that differ.

    Raises:
      UserError: the folder cannot be written.
    """
    parts = [_HEAD.format(title="gpt_tf report", command=html.escape(command))]
    with explain_disk_errors(folder), atomic_folder(folder) as new:
        for picture in pictures:
            png = picture.png()
            with open(os.path.join(new, f"{picture.name}.png"), "wb") as stream:
                stream.write(png)
            parts.append(_SECTION.format(
                title=html.escape(picture.title), text=html.escape(picture.text),
                png=base64.b64encode(png).decode()))
        with open(os.path.join(new, PAGE), "w", encoding="utf-8") as stream:
            stream.write(in_utf8("".join(parts)))
