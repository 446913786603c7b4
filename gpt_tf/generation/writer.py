"""Prompts -> continued texts: tokenizer and `generator.Generator`, stop strings, streaming."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses

from gpt_tf.common.errors import UserError
from gpt_tf.generation.generator import Generator
from gpt_tf.tokenizer import Tokenizer

_STREAM_TOKENS = 4  # shown at a time: few enough to read along, enough to keep the model's pace


@dataclasses.dataclass
class Text:
    """A prompt's continuation.

    Attributes:
      prompt_ids: the prompt's tokens; of one that is empty, none.
      sample: its number among the continuations of its prompt.
      token_ids, log_probabilities: the new tokens, and theirs under the model, in nats.
      text: all of it as `Tokenizer.decode` writes, half a character at its end as U+FFFD; or up
        to a stop string.
      finish: "length" (all tokens asked for), "stop" (a stop string) or "limit" (the model's
        positions are full).
    """

    prompt_ids: list[int]
    sample: int
    token_ids: list[int] = dataclasses.field(default_factory=list)
    log_probabilities: list[float] = dataclasses.field(default_factory=list)
    text: str = ""
    finish: str = ""


class Writer:
    """Continues texts.

    Args:
      generator: the model with its settings.
      tokenizer: the model's.
      max_new_tokens: those of the generator's settings.
      stop: strings, as `Tokenizer.decode` writes them, before which a text ends.

    An empty prompt starts a text from nothing: as after a line break, which is not part of it.

    Attributes:
      tokenizer: the model's.
    """

    def __init__(self, generator: Generator, tokenizer: Tokenizer, max_new_tokens: int,
                 stop: Sequence[str] = ()):
        self._generator = generator
        self.tokenizer = tokenizer
        self._max_new_tokens = max_new_tokens
        self._stop = stop
        self._start = [tokenizer.newline_id]  # of an empty prompt

    def encode(self, prompt: str, where: str) -> list[int]:
        """The prompt's tokens.

        Raises:
          UserError: it cannot be continued; `where` names it.
        """
        token_ids = self.tokenizer.encode(prompt)
        try:
            self._generator.check(token_ids or self._start)
        except ValueError as error:
            raise UserError(f"{where} cannot be continued: {error}.") from error
        return token_ids

    def write(self, prompts: Sequence[list[int]], num_samples: int) -> list[Text]:
        """`num_samples` continuations of each prompt of `encode`, in their order."""
        texts = [Text(prompt, sample) for prompt in prompts for sample in range(num_samples)]
        for _ in self._parts(texts, 32):
            if all(text.finish for text in texts):
                break
        return texts

    def stream(self, prompt: list[int], show: Callable[[str], None]) -> Text:
        """One continuation; `show` is given its text, prompt included, as it is certain."""
        text, shown = Text(prompt, 0), self.tokenizer.decode(prompt)
        show(shown)
        for _ in self._parts([text], _STREAM_TOKENS):
            certain = self._certain(text)
            if certain.startswith(shown):
                show(certain[len(shown):])
                shown = certain
            if text.finish:
                break
        show(text.text[len(shown):])
        return text

    def _parts(self, texts: list[Text], part_length: int) -> Iterator[None]:
        """Lets `texts` grow, part by part, until each is finished."""
        for part in self._generator.stream([text.prompt_ids or self._start for text in texts],
                                           [text.sample for text in texts], part_length):
            for number, *new in zip(part.prompts, part.token_ids.tolist(),
                                    part.log_probabilities.tolist()):
                if not texts[number].finish:
                    self._grow(texts[number], *new)
            yield
        for text in texts:
            if not text.finish:
                text.finish = "limit"

    def _grow(self, text: Text, token_ids: list[int], log_probabilities: list[float]) -> None:
        before = len(text.token_ids)
        text.token_ids += token_ids
        text.log_probabilities += log_probabilities
        text.text = self.tokenizer.decode(text.prompt_ids + text.token_ids)
        if len(text.token_ids) == self._max_new_tokens:
            text.finish = "length"
        if self._find_stop(text) is None:
            return
        for count in range(before + 1, len(text.token_ids) + 1):  # up to the token it ends with
            text.text = self.tokenizer.decode(text.prompt_ids + text.token_ids[:count])
            place = self._find_stop(text)
            if place is not None:
                del text.token_ids[count:], text.log_probabilities[count:]
                text.text, text.finish = text.text[:place], "stop"
                return

    def _find_stop(self, text: Text) -> int | None:
        """Where the first stop string stands behind the prompt."""
        start = len(self.tokenizer.decode(text.prompt_ids))
        places = [text.text.find(stop, start) for stop in self._stop]
        return min((place for place in places if place >= 0), default=None)

    def _certain(self, text: Text) -> str:
        """What no further token changes, and no stop string may take."""
        if text.finish:
            return text.text
        token_ids = text.prompt_ids + text.token_ids
        held = max((len(stop) - 1 for stop in self._stop), default=0)
        certain = self.tokenizer.decode(token_ids[:self.tokenizer.settled(token_ids)])
        return certain[:len(certain) - held]
