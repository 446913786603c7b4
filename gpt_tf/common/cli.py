"""Flags <-> dataclasses, and the frame every command runs in.

A command declares its flags from frozen dataclasses, so that a default stands in one place and a
library never reads a flag. A field made by `config.option` is a flag.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
import contextlib
import dataclasses
import os
import re
import shlex
import sys
import tempfile
from typing import TextIO, TypeVar

from absl import flags

from gpt_tf.common import compile_cache, flagfiles, imports, memory
from gpt_tf.common.errors import Interrupted, UserError
from gpt_tf.common.names import nearest
from gpt_tf.common.streams import ReaderLeft, standard_streams

Config = TypeVar("Config")

_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float,
           str: flags.DEFINE_string, int | None: flags.DEFINE_integer,
           str | None: flags.DEFINE_string}

# Flags that decide how much memory a command takes; of an update, `TrainStep` names its own.
_MEMORY_FLAGS = ("batch_size", "num_workers")

# Of use to `keras.wrappers`, `keras.visualization` and `tf.lite` alone.
_TAKEN_ALONG = ("sklearn", "matplotlib", "jax")

# Flags made here belong to the command that asked for them, as its `--help` should say.
flags.disclaim_key_flags()


def define_flags(config_class: type, omit: Collection[str] = (), **defaults) -> None:
    """Defines one flag for each field of `config_class` that carries a help text.

    Args:
      config_class: a dataclass with fields made by `config.option`.
      omit: fields for which another flag of this command stands.
      **defaults: defaults of this command that differ from the class's.
    """
    for field in dataclasses.fields(config_class):
        if "help" not in field.metadata or field.name in omit:
            continue
        default = defaults.pop(field.name, field.default)
        help_text = field.metadata["help"]
        if field.metadata["choices"]:
            flags.DEFINE_enum(field.name, default, list(field.metadata["choices"]), help_text)
        else:
            # The ranges are not given to absl: `from_flags` checks them, as for any other caller.
            define = _define_path if field.metadata["path"] else _DEFINE[
                field.type if default is None else type(default)]
            define(field.name, default, help_text,
                   required=default is None and field.metadata["required"])
    if defaults:
        raise TypeError(f"{config_class.__name__} has no flags named {sorted(defaults)}")


class _PathParser(flags.ArgumentParser):
    """A shell leaves `~` alone where it follows `--name=`."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return "string"


def _define_path(name: str, default: str | None, help_text: str, required: bool) -> None:
    flags.DEFINE(_PathParser(), name, default, help_text, serializer=flags.ArgumentSerializer(),
                 required=required)


def from_flags(config_class: type[Config], **values) -> Config:
    """Builds `config_class` from its flags; `values` stand for flags, and for other fields.

    A field whose flag this command omits keeps the class's default.

    Raises:
      UserError: a value is out of its range, or they do not fit together.
    """
    for field in dataclasses.fields(config_class):
        if field.name in flags.FLAGS and "help" in field.metadata and field.name not in values:
            values[field.name] = getattr(flags.FLAGS, field.name)
    try:
        return config_class(**values)
    except ValueError as error:
        raise UserError(str(error)) from error


def value_or(name: str, otherwise: int) -> int:
    """The value of the number flag `name`, or `otherwise` where that is 0."""
    return getattr(flags.FLAGS, name) or otherwise


def adopt(config_class: type[Config], values: dict, source: str,
          free: Collection[str] = (), open_at_zero: Collection[str] = ()) -> Config:
    """Builds `config_class` from another run's values, which the flags may not contradict.

    Args:
      config_class: see `from_flags`.
      values: every field's.
      source: names the run in the error.
      free: fields whose flag, where it is given, stands for the run's value.
      open_at_zero: fields whose flag contradicts nothing where it is 0.

    Raises:
      UserError: a flag contradicts the run, or the values do not fit together.
    """
    values = dict(values)
    for name in filter(is_given, list(values)):
        given = getattr(flags.FLAGS, name)
        if name in free:
            values[name] = given
        elif given != values[name] and (given or name not in open_at_zero):
            raise UserError(f"--{name}={given}, but the model of {source} has {name} "
                            f"{values[name]}: leave the flag out.")
    return from_flags(config_class, **values)


def is_given(name: str) -> bool:
    """Whether there is a flag `name` and the command line or a flagfile names it."""
    return name in flags.FLAGS and flags.FLAGS[name].present > 0


def _own_flags() -> list[flags.Flag]:
    """This command's flags, and not those of libraries."""
    return flags.FLAGS.get_key_flags_for_module(sys.modules["__main__"])


def flagfile_text(**values) -> str:
    """The values of all of this command's flags, as a flagfile that gives the same run.

    But for what is no part of it: `--overwrite`, which would remove it, `--change_length` and
    `--dry_run`.

    Args:
      **values: what to write for a flag in place of its value.
    """
    return "".join(
        (f"--{flag.name}={values[flag.name]}" if flag.name in values else flag.serialize()) + "\n"
        for flag in sorted(_own_flags(), key=lambda f: f.name)
        if flag.value is not None and flag.name not in (
            "flagfile", "undefok", "overwrite", "change_length", "dry_run"))


def flags_text(values: Mapping[str, object]) -> str:
    """A flagfile with these flags, by their names."""
    return "".join(f"--{name}={value}\n" for name, value in values.items())


def command_line(module: str, **values: object) -> str:
    """A command with flags, as a shell takes it.

    >>> command_line("pipelines.build_corpus", input="my books/*.txt", output_dir="data")
    "python -m pipelines.build_corpus --input='my books/*.txt' --output_dir=data"
    """
    return " ".join([f"python -m {module}", *(
        f"--{name}={shlex.quote(str(value))}" for name, value in values.items())])


@contextlib.contextmanager
def notices_held() -> Iterator[TextIO]:
    """Keeps away what libraries and processes started in the block write to file descriptor 2.

    It would bury the command's own lines. If the block ends with an error that is no sentence of
    ours, what was written is shown.

    Yields:
      A stream that still leads to where file descriptor 2 did.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notices, os.fdopen(os.dup(2), "w") as shown:
        os.dup2(notices.fileno(), 2)
        try:
            yield shown
        except Exception as error:
            if not isinstance(error, UserError):
                notices.seek(0)
                shown.write(notices.read().decode("utf-8", "replace"))
            raise
        finally:
            sys.stderr.flush()
            shown.flush()
            os.dup2(shown.fileno(), 2)


def import_tensorflow(whole: bool = False) -> None:
    """Imports TensorFlow without its start-up notices; call before anything that needs it.

    It writes them straight to file descriptor 2, whatever the log level. Whoever asks for more than
    errors with TF_CPP_MIN_LOG_LEVEL sees them. Products of float32 are made of float32 on GPUs,
    too, and not of TF32 as TensorFlow would have it. Of Keras's backends this is TensorFlow's
    program, whatever the environment or ~/.keras/keras.json say. With the flag --compile_cache
    TensorFlow has what it compiled for earlier commands (`compile_cache`).

    Args:
      whole: as anybody's `import tensorflow` does it, with all that it and Keras take along where
        it is installed. A command needs none of that through them, and waits half as long.

    Raises:
      UserError: Keras is imported already, with another backend; or its keras.json keeps
        TensorFlow from being imported.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    keras = sys.modules.get("keras")
    if keras and keras.config.backend() != "tensorflow":
        raise UserError(f"Keras runs on {keras.config.backend()} here and gpt_tf on TensorFlow: "
                        "set KERAS_BACKEND=tensorflow before Keras is imported.")
    is_quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3"
    has_cache = ("compile_cache" in flags.FLAGS and flags.FLAGS.compile_cache
                 and compile_cache.request())
    is_lean = not whole and "tensorflow" not in sys.modules
    with (notices_held() if is_quiet else contextlib.nullcontext(),
          imports.lean(_TAKEN_ALONG) if is_lean else contextlib.nullcontext()):
        try:
            import tensorflow as tf
        except AssertionError as error:  # all that it says about a bfloat16 there
            raise UserError("TensorFlow cannot be imported: write \"floatx\": \"float32\" into "
                            "keras.json in $KERAS_HOME or ~/.keras.") from error
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if has_cache:
        compile_cache.fill(tf)


def _parse_flags(passes_on: str) -> list[str]:
    """Sets the flags; returns the arguments that are none of them."""
    arguments = [sys.argv[0], *flagfiles.expand(sys.argv[1:])]
    if passes_on:
        flags.FLAGS.set_gnu_getopt(True)  # the others may stand anywhere
        rest = flags.FLAGS(arguments, known_only=True)[1:]
        if not rest or flags.FLAGS[passes_on].value:
            return rest
    return flags.FLAGS(arguments)[1:]


def _flag_error(error: Exception) -> str:
    """What is wrong with the flags, in our words where absl's say too little."""
    if isinstance(error, flags.UnrecognizedFlagError):
        if error.flagname != error.flagname.strip():
            return f"--{error.flagname.strip()}=VALUE is written without spaces around =."
        # Each boolean flag has a second name, for whoever types one.
        is_no = error.flagname.startswith("no")
        known = ["flagfile", *(name for flag in _own_flags() for name in (
            flag.name, *([f"no{flag.name}"] if flag.boolean and is_no else [])))]
        found = " or ".join(f"--{name}" for name in nearest(error.flagname, known, 3))
        return (f"--{error.flagname} is not a flag of this command"
                + (f"; did you mean {found}?" if found else "."))
    missing = re.findall(r"--(\w+)=None: Flag --\1 must have a value", str(error))
    if missing:
        return f"{' and '.join(f'--{name}' for name in missing)} must be given."
    return f"{str(error).rstrip('.')}."


def run(main: Callable[..., None], passes_on: str = "", makes_files: bool = False) -> None:
    """Parses the flags, runs `main()` and exits.

    Args:
      main: the command; with `passes_on` it takes a list of the arguments that are no flags.
      passes_on: the flag that must be given for there to be such arguments.
      makes_files: whether standard output only tells of the work, which goes on where nobody reads
        it. That of other commands is what they are for: they end, quietly, when its reader leaves.

    Exit codes: 0; 1 user's error; 2 bad flags; 128 + n for signal n, with the work saved.

    A `UserError` is printed as its one sentence, and so is want of memory; anything else is a
    defect of ours and keeps its traceback.
    """
    code = 0
    with standard_streams(is_log=makes_files):
        try:
            code = _run(main, passes_on)
            sys.stdout.flush()
        except UserError as error:  # of standard output
            print(f"error: {error}", file=sys.stderr)
            code = 1
    if code:
        sys.exit(code)


def _run(main: Callable[..., None], passes_on: str) -> int:
    """Does what `run` says; returns the exit code."""
    arguments = sys.argv[1:]
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in arguments):
        print(sys.modules["__main__"].__doc__ or "")
        print(flags.FLAGS.main_module_help())
        return 0
    try:
        rest = _parse_flags(passes_on)
    except (flags.Error, ValueError, UserError) as error:
        print(f"error: {UserError(_flag_error(error))} Try --help.", file=sys.stderr)
        return 2
    except RecursionError:  # absl looks for names like an unknown one, a character at a time
        print("error: the name of a flag here or in a --flagfile is hundreds of characters "
              "long: correct it.", file=sys.stderr)
        return 2
    if rest and not (passes_on and flags.FLAGS[passes_on].value):
        print(f"error: {rest[0]!r:.80} is not a flag: values are given as --name=value. Try "
              "--help.", file=sys.stderr)
        return 2
    try:
        main(*([rest] if passes_on else []))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 128 + error.number
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.", file=sys.stderr)
        return 130
    except ReaderLeft:
        raise
    except Exception as error:
        if memory.is_out_of_memory(error):
            message = memory.out_of_memory_message(error, _memory_remedy())
        elif isinstance(error, OSError) and error.errno:
            message = str(UserError(_system_error(error)))
        else:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 1
    return 0


def _system_error(error: OSError) -> str:
    """The sentence of an error of the system that no part of ours has explained."""
    names = " and ".join(os.fsdecode(name) for name in (error.filename, error.filename2)
                         if isinstance(name, str | bytes))
    return (f"{names or 'The system'}: {error.strerror}. What was saved before is intact; put it "
            "right, then run the same command again.")


def _memory_remedy() -> str:
    """Which flag of this command to lower when memory is short."""
    # Of a run that trains, the batch decides the numbers.
    names = [] if "micro_batch_size" in flags.FLAGS else _MEMORY_FLAGS
    values = {name: flags.FLAGS[name].value for name in names if name in flags.FLAGS}
    for name, value in values.items():
        if value != 1:
            return f"give --{name}=1" + (f", or less than {value}" if value > 2 else "")
    return "take a machine with more memory, or a smaller model"
