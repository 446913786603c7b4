"""Fine-tunes the runs of a campaign, many at once; for a machine with a GPU, numpy, JAX, scipy and
scikit-learn.

  python3 -m benchmarks.gpu.campaign_there campaign --weights=out --output=out --minutes=4

`campaign` is a folder of `benchmarks.gpu.campaign_export`; in `out` `benchmarks.gpu.there` leaves
the weights of a pre-training, which may be under way still: programs are compiled meanwhile. Of a
campaign exported with --weights, `campaign` itself has them.
The rows of tables come in their order, and what is finished when the minutes are over is kept: what
every run says of the validation rows after its last update in `answers.npz`, and which runs these
are in `answers.json`. Run it from the root of a checkout.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import dataclasses
import functools
import json
import math
import os
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu import fine_tuning, initial, packed
from benchmarks.gpu.fine_tuning import Places, Shape, State, Updates
from benchmarks.paper.folders import chosen
from gpt_tf.common.files import atomic_write
from gpt_tf.config import ModelConfig, OptimizerConfig
from gpt_tf.data.order import stream
from gpt_tf.model.schedules import corrected_rate
from gpt_tf.tasks.answers import expected_scores, softmax
from gpt_tf.tasks.metrics import METRICS

_PATIENCE = 3600  # seconds
_MULTIPLE = 16  # of a bin's length
_EVALUATION_ROWS = 128
_UPDATES = 128  # of one call, at the most


class Run(NamedTuple):
    """One run: the number of its arm, its learning rate, its seed."""

    arm: int
    rate: float
    seed: int


class Rows(NamedTuple):
    """A split: sequences one after the other."""

    tokens: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


class Pretrained:
    """The weights of a language model that `benchmarks.gpu.there` leaves.

    Args:
      folder: where they will lie.

    Attributes:
      digest: of the weights, once they are there.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self.digest = ""

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """By the names of `fine_tuning.from_variables`; waits for them, an hour at the most."""
        path, start = os.path.join(self._folder, packed.WEIGHTS), time.monotonic()
        if not os.path.exists(path):
            print(f"waiting for {path}", flush=True)
        while not os.path.exists(path):
            if time.monotonic() - start > _PATIENCE:
                raise SystemExit(f"{path} did not come.")
            time.sleep(0.2)
        try:
            described, flat = packed.read_weights(self._folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"The weights in {self._folder} cannot be read ({error}): carry the "
                             "whole folder.") from error
        self.digest = packed.digest(flat)
        variables = described["variables"]
        return fine_tuning.from_variables(
            [each["name"] for each in variables],
            packed.split(flat, [each["shape"] for each in variables]))

    def check(self, initial_: dict[str, np.ndarray], num_special_tokens: int) -> None:
        """Ends the program where these are not the weights of a model like that with the initial
        weights `initial_`, which has so many more rows, for special tokens."""
        wanted = {name: list(value.shape) for name, value in initial_.items()
                  if not name.startswith("task_head/")}
        found = {name: list(value.shape) for name, value in self.weights.items()}
        table = "embedding/token/embeddings"
        if table in found:
            found[table][0] += num_special_tokens
        if wanted != found:
            raise SystemExit(f"The weights in {self._folder} are of another shape than the "
                             "campaign's model: export it with a run of the same flags.")


@functools.cache
def _drawn(description: str) -> np.ndarray:
    return initial.weights([json.loads(description)])[0]


def initial_weights(variables: Sequence[dict]) -> dict[str, np.ndarray]:
    """Those of a `TaskModel`, as TensorFlow draws them."""
    values = [_drawn(json.dumps({name: value for name, value in each.items() if name != "name"}))
              for each in variables]
    return fine_tuning.from_variables([each["name"] for each in variables], values)


class Group:
    """The runs of a row of a table: its arms, rates and seeds.

    Args:
      described: of `campaign.json`.
      campaign: all of it.
      folder: where it lies.
      dtype: of the products.
    """

    def __init__(self, described: dict, campaign: dict, folder: str, dtype: str):
        self.described, self._campaign = described, campaign
        self.name, self.arms = described["name"], described["arms"]
        self._count = described["num_sequences"]
        self.optimizer = OptimizerConfig(**described["optimizer"])
        self.num_steps = described["num_steps"]
        with np.load(os.path.join(folder, f"{described['task']}.npz")) as arrays:
            train, held_out = (Rows(*(arrays[f"{split}_{part}"] for part in Rows._fields))
                               for split in ("train", "validation"))
        self.labels = held_out.labels
        longest = max(int(rows.lengths.max()) for rows in (train, held_out))
        self._bin = -(-longest // _MULTIPLE) * _MULTIPLE
        self._stores = [self._store(rows) for rows in (train, held_out)]
        METRICS[described["metric"]](self.labels, self.labels)  # so that what it needs is there
        self._calls = -(-self.num_steps // _UPDATES)
        self._updates = -(-self.num_steps // self._calls)
        seeds = [campaign["selection_seed"], *campaign["seeds"]]
        packed = {seed: self._pack_training(train, seed) for seed in seeds}
        self._places = {seed: places for seed, (places, _) in packed.items()}
        bins = max(bins for _, bins in packed.values())
        self._held_out, held_out_bins = self._pack_validation(held_out)
        self._shape = Shape(ModelConfig(**described["model"]), self._count, described["form"],
                            described["classifier_dropout"], bins, self._bin, 0, dtype)
        self._validation_shape = dataclasses.replace(self._shape, bins=held_out_bins)
        self._programs: dict[int, Future] = {}

    def _store(self, rows: Rows) -> fine_tuning.Store:
        labels = fine_tuning.soft_labels(rows.labels, self.described["num_classes"],
                                         self.described["score_range"])
        return fine_tuning.make_store(rows.tokens, rows.lengths.reshape(-1), labels)

    def _sequences(self, rows: np.ndarray) -> np.ndarray:
        """int [N, B], -1 where there is none, -> [N, S]."""
        found = rows[:, :, None] * self._count + np.arange(self._count)
        return np.where(rows[:, :, None] < 0, -1, found).reshape(len(rows), -1)

    def _pack_training(self, train: Rows, seed: int) -> tuple[Places, int]:
        size, batch = len(train.lengths), self.described["batch_size"]
        taken = np.arange(size)
        if self.described["rows"]:
            taken = chosen(size, self.described["rows"], seed)
        order = stream(len(taken), seed)(0, self.num_steps * batch)
        return fine_tuning.pack(self._sequences(taken[order].reshape(-1, batch)),
                                train.lengths.reshape(-1).astype(np.int32), self._bin)

    def _pack_validation(self, held_out: Rows) -> tuple[Places, int]:
        size = len(held_out.lengths)
        batches = -(-size // _EVALUATION_ROWS)
        rows = np.arange(batches * _EVALUATION_ROWS).reshape(batches, -1)
        return fine_tuning.pack(self._sequences(np.where(rows < size, rows, -1)),
                                held_out.lengths.reshape(-1).astype(np.int32), self._bin)

    @property
    def selection(self) -> list[Run]:
        """The runs that choose the rates."""
        rates = self._campaign["rates"]
        return [Run(arm, rate, self._campaign["selection_seed"])
                for arm in range(len(self.arms)) for rate in rates] if len(rates) > 1 else []

    def chosen(self, scores: dict[Run, float]) -> list[Run]:
        """The runs that are reported, by the scores of `selection`; the lowest of equal rates."""
        rates = sorted(self._campaign["rates"])
        found = []
        for arm in range(len(self.arms)):
            rate = max(rates, key=lambda rate: scores.get(
                Run(arm, rate, self._campaign["selection_seed"]), -math.inf))
            found += [Run(arm, rate, seed) for seed in self._campaign["seeds"]]
        return found

    def compile(self, pool: ThreadPoolExecutor) -> None:
        """Starts to compile the programs for both lists of runs."""
        for count in {len(self.selection), len(self.arms) * len(self._campaign["seeds"])} - {0}:
            self._programs[count] = pool.submit(self._compile, count)

    def _compile(self, count: int):
        variables = self.described["initial"][str(self._campaign["selection_seed"])]
        names = [each["name"] for each in variables]
        shapes = fine_tuning.from_variables(
            names, [np.broadcast_to(np.float32(0), each["shape"]) for each in variables])

        def empty(*shape, dtype=np.float32):
            return jax.ShapeDtypeStruct(shape, dtype)

        weights = {name: empty(count, *value.shape) for name, value in shapes.items()}
        sequences = self._count * self.described["batch_size"]
        places = Places(*(empty(self._updates, count, sequences, dtype=np.int32),) * 2)
        updates = Updates(places, empty(self._updates, count),
                          empty(self._updates, count, dtype=np.uint32))
        held_out = Places(*(empty(*self._held_out.starts.shape, dtype=np.int32),) * 2)
        train, validation = (dataclasses.replace(shape, runs=count)
                             for shape in (self._shape, self._validation_shape))
        return (fine_tuning.compiled_train(train, self.optimizer).lower(
                    State(weights, weights, weights), self._stores[0], updates,
                    empty(count)).compile(),
                fine_tuning.compiled_predict(validation).lower(
                    weights, self._stores[1], held_out).compile())

    def _start(self, run: Run, pretrained: Pretrained) -> dict[str, np.ndarray]:
        own = initial_weights(self.described["initial"][str(run.seed)])
        arm = self.arms[run.arm]
        if not arm["is_pretrained"]:
            return own
        return fine_tuning.take_over(own, pretrained.weights,
                                     arm["configuration"]["transfer_layers"])

    def __call__(self, runs: Sequence[Run], pretrained: Pretrained,
                 deadline: float) -> tuple[np.ndarray, list[float]] | None:
        """Trains runs to their end.

        Returns:
          Logits of the validation rows, float32 [R, N, C], and the last losses; None where the
          deadline, of `time.monotonic`, has come before.
        """
        train, predict = self._programs[len(runs)].result()
        starts = [self._start(run, pretrained) for run in runs]
        weights = {name: jnp.stack([start[name] for start in starts]) for name in starts[0]}
        state = State(weights, *({name: jnp.zeros_like(value) for name, value in weights.items()}
                                 for _ in range(2)))
        coefs = jnp.array([self.arms[run.arm]["configuration"]["lm_coef"] for run in runs],
                          jnp.float32)
        losses = None
        for call in range(self._calls):
            if time.monotonic() > deadline:
                return None
            state, losses = train(state, self._stores[0],
                                  self._updates_of(runs, call * self._updates), coefs)
            losses.block_until_ready()
        logits = np.asarray(predict(state.weights, self._stores[1], Places(*map(
            jnp.asarray, self._held_out))))
        logits = logits.reshape(len(runs), -1, logits.shape[-1])[:, :len(self.labels)]
        return logits, np.asarray(losses).mean(axis=0).tolist()

    def _updates_of(self, runs: Sequence[Run], first: int) -> Updates:
        """Those from `first`, counted from 0; behind the last one come some of rate 0."""
        steps = np.arange(first, first + self._updates)
        taken = np.minimum(steps, self.num_steps - 1)
        places = Places(*(np.stack([part[taken] for part in parts], axis=1) for parts in zip(
            *(self._places[run.seed] for run in runs))))
        courses = {run.rate: dataclasses.replace(self.optimizer, learning_rate=run.rate)
                   for run in runs}
        rates = {rate: [corrected_rate(course, step + 1, self.num_steps)
                        if step < self.num_steps else 0.0 for step in steps]
                 for rate, course in courses.items()}
        keys = np.array([[(run.seed * 1_000_003 + step + 1) % 2**32 for run in runs]
                         for step in steps], np.uint32)
        return Updates(places, np.array([rates[run.rate] for run in runs], np.float32).T, keys)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """[..., N, C] -> float64 [..., N]: the likeliest class, or the expected score; NaN where
        a run has diverged."""
        probabilities = softmax(logits)
        if self.described["score_range"]:
            return expected_scores(probabilities, self.described["score_range"])
        return np.where(np.isnan(probabilities).any(-1), np.nan, probabilities.argmax(-1))

    def scores(self, runs: Sequence[Run], answers: np.ndarray) -> dict[Run, float]:
        """The first metric of each run that has not diverged."""
        metric = METRICS[self.described["metric"]]
        return {run: metric(self.labels, each)
                for run, each in zip(runs, answers) if np.isfinite(each).all()}


class Output:
    """The files of what is finished.

    Args:
      folder: where they go.
      told: what they say of all runs.
    """

    def __init__(self, folder: str, **told: str):
        self._folder, self._arrays = folder, {}
        self._told = told | {"groups": {}}

    def add(self, group: Group, runs: Sequence[Run], answers: np.ndarray, seconds: float) -> None:
        """Keeps the answers [R, N] of runs that took so many seconds together."""
        part = self._told["groups"].setdefault(
            group.name, {"arms": group.arms, "calls": []})
        self._arrays[f"{group.name}-{len(part['calls'])}"] = answers
        part["calls"].append({"runs": runs, "seconds": seconds})
        with atomic_write(os.path.join(self._folder, packed.ANSWERS)) as stream_:
            np.savez_compressed(stream_, **self._arrays)
        with atomic_write(os.path.join(self._folder, packed.ANSWERS_TOLD)) as stream_:
            stream_.write(json.dumps(self._told).encode())


def run_group(group: Group, pretrained: Pretrained, output: Output, deadline: float) -> bool:
    """Trains a group's runs and says what they came to; False where there was no time."""
    scores = {}
    for what in ("selection", "chosen"):
        runs = group.selection if what == "selection" else group.chosen(scores)
        if not runs:
            continue
        start = time.monotonic()
        found = group(runs, pretrained, deadline)
        if found is None:
            return False
        answers, losses = group.answers(found[0]), found[1]
        seconds = time.monotonic() - start
        output.add(group, runs, answers, seconds)
        scores = group.scores(runs, answers)
        for arm, described in enumerate(group.arms):
            told = ", ".join(f"{run.rate:g}: {100 * scores.get(run, math.nan):.1f}"
                             for run in runs if run.arm == arm)
            print(f"{group.name}  {described['name']}  {what}  {told}", flush=True)
        print(f"  {group.num_steps} updates of {len(runs)} runs, {seconds:.1f} s, last losses "
              f"{min(losses):.3f} to {max(losses):.3f}", flush=True)
    return True


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", help="a folder of benchmarks.gpu.campaign_export")
    parser.add_argument("--weights", required=True, help="where the pre-trained weights lie")
    parser.add_argument("--output", required=True, help="folder for what is brought back")
    parser.add_argument("--minutes", type=float, default=10.0, help="from the weights on")
    parser.add_argument("--names", default="", help="rows of tables, in this order, as "
                        "sst2-500-epochs-20,cola-epochs-5; empty: all")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    arguments = parser.parse_args()
    try:
        with open(os.path.join(arguments.campaign, "campaign.json"), encoding="utf-8") as stream_:
            campaign = json.load(stream_)
            described = {each["name"]: each for each in campaign["groups"]}
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}; name a folder of "
                     "benchmarks.gpu.campaign_export")
    except (ValueError, KeyError, TypeError):
        parser.error(f"{arguments.campaign}/campaign.json is damaged: carry the folder again")
    path = os.path.join(arguments.weights, packed.WEIGHTS)
    if os.path.realpath(arguments.weights) == os.path.realpath(arguments.campaign) and (
            not os.path.exists(path)):
        parser.error(f"there is no {path}: export the campaign with --weights")
    names = arguments.names.split(",") if arguments.names else list(described)
    if unknown := [name for name in names if name not in described]:
        parser.error(f"no rows of tables: {', '.join(unknown)}; there are {', '.join(described)}")
    for task in {described[name]["task"] for name in names}:
        if not os.path.exists(os.path.join(arguments.campaign, f"{task}.npz")):
            parser.error(f"there is no {arguments.campaign}/{task}.npz: carry the whole folder")
    if os.path.exists(os.path.join(arguments.output, packed.ANSWERS_TOLD)):
        parser.error(f"--output={arguments.output} has the answers of another call: name another")
    os.makedirs(arguments.output, exist_ok=True)
    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        groups = list(pool.map(lambda name: Group(
            described[name], campaign, arguments.campaign, arguments.dtype), names))
        for group in groups:
            group.compile(pool)
        print(f"{len(groups)} rows of tables, packed in {time.monotonic() - start:.0f} s",
              flush=True)
        pretrained = Pretrained(arguments.weights)
        first = groups[0].described
        pretrained.check(initial_weights(first["initial"][str(campaign["selection_seed"])]),
                         first["model"]["num_special_tokens"])
        output = Output(arguments.output, dtype=arguments.dtype, weights=pretrained.digest,
                        device=jax.devices()[0].device_kind)
        deadline = time.monotonic() + 60 * arguments.minutes
        print(f"weights there after {time.monotonic() - start:.0f} s", flush=True)
        for group in groups:
            if not run_group(group, pretrained, output, deadline):
                print(f"{group.name}: no time was left", flush=True)
                break
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
