"""The making of a data folder from its first check to its manifest, here or on Beam."""

from collections.abc import Callable, Sequence
import contextlib
import time
from typing import NamedTuple

from gpt_tf.data.manifest import Manifest
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes, with_beam
from pipelines.building.data_folder import DataFolder, FolderConfig
from pipelines.building.encoders import Encoders
from pipelines.building.parcels import Parcel, Plan, ShardMaker


class Built(NamedTuple):
    """A finished data folder: what was planned, what each parcel made, the manifest, and the
    seconds of work, once the workers are started.
    """

    plan: Plan
    made: list[notes.Made]
    manifest: Manifest
    seconds: float


def build_folder(folder: DataFolder, make_plan: Callable[[Tokenizer], Plan],
                 beam_options: Sequence[str] = ()) -> Built:
    """Makes a data folder; shows how far it is.

    What an earlier call with the same values had finished before it was stopped stays as it is.

    Args:
      folder: what to make, with the flags of its command.
      make_plan: reads the input once; called when the folder is owned.
      beam_options: with --runner, Beam's own flags.

    Raises:
      UserError: anything wrong with input, tokenizer, flags or folder.
    """
    config = folder.config
    with contextlib.ExitStack() as stack:
        # The processes start first: they load the tokenizer while this one reads.
        make = _start(config, beam_options, stack)
        begin = time.monotonic()
        tokenizer = Tokenizer.load(config.tokenizer)
        stack.enter_context(folder.own())
        plan = make_plan(tokenizer)
        units = [parcel.unit for parcel in plan.parcels]
        unmade = folder.begin(units)
        make(plan.maker, [parcel for parcel in plan.parcels if parcel.unit in unmade])
        made = notes.collect(config.output_dir, units)
        manifest = Manifest(
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_fingerprint=tokenizer.fingerprint, flags=folder.flags,
            **plan.contents(made))
        folder.finish(tokenizer, manifest)
    return Built(plan, made, manifest, time.monotonic() - begin)


def _start(config: FolderConfig, beam_options: Sequence[str],
           stack: contextlib.ExitStack) -> Callable[[ShardMaker, list[Parcel]], None]:
    """What makes parcels, ready to do so."""
    if config.runner:
        return with_beam.Pipeline(config, beam_options).run
    encoders = stack.enter_context(Encoders(config.tokenizer, config.num_workers))
    return lambda maker, parcels: maker.make_here(parcels, encoders.map)
