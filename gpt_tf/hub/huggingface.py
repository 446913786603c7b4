"""Repositories of Hugging Face's hub, by its own client and in its own cache.

HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and the others are the client's
(https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables).
"""

from collections.abc import Iterator
import contextlib
import functools
import hashlib
import os
import sys

import huggingface_hub
from huggingface_hub import constants, errors

from gpt_tf.common.errors import UserError, reason
from gpt_tf.hub.files import CONFIG, Fetched, gather
from gpt_tf.hub.handles import Handle

# Files of which a repository with a model or a tokenizer has one.
_MARKS = (CONFIG, "tokenizer_config.json", "tokenizer.json", "vocab.json", "encoder.json")
_BLOCK = 1 << 20


def fetch(handle: Handle, tokenizer_only: bool) -> Fetched:
    """Files of a repository, each fetched once and found without a network from then on.

    A file that comes with another checksum than the repository lists is thrown away.

    Args:
      handle: of the repository.
      tokenizer_only: whether the weights can stay where they are.

    Raises:
      UserError: there is no such repository or revision, or it is not for who asks; the hub cannot
        be reached, and not all is in the cache; the disk is full; or a file came damaged.
    """
    with _explained(handle):
        commit, sums = _look_up(handle)
        names = _cached(handle, commit) if sums is None else list(sums)
        try:
            return gather(handle.text, names, functools.partial(_take, handle, commit, sums),
                          tokenizer_only)
        except UserError as error:
            if sums is not None:
                raise
            raise UserError(f"{error} Only what is in the cache was looked at, as "
                            f"{constants.ENDPOINT} cannot be reached.") from error


def _look_up(handle: Handle) -> tuple[str, dict[str, str] | None]:
    """The commit of a handle's revision, and its files: name -> SHA-256 of the content, or git's
    name for it; None where the hub cannot be reached, and the commit is what it last was."""
    api = huggingface_hub.HfApi(library_name="gpt_tf")
    try:
        listing = api.model_info(handle.name, revision=handle.revision, files_metadata=True)
    except Exception as error:  # the client's, or its HTTP library's
        if _status(error) not in (None, 429) and _status(error) < 500:
            raise
        try:
            last = api.resolve_revision(handle.name, revision=handle.revision,
                                        local_files_only=True)
        except errors.RevisionResolutionError:
            raise error from None
        print(f"{handle.text} is taken as it was fetched before: {constants.ENDPOINT} cannot be "
              f"reached ({reason(error)}).", file=sys.stderr)
        return last.resolved, None
    # This keeps the commit under the revision's name, where it is looked for without a network.
    commit = api.resolve_revision(handle.name, revision=handle.revision).resolved
    return commit, {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id
                    for file in listing.siblings}


def _cached(handle: Handle, commit: str) -> list[str]:
    """The names of a commit's files in the cache, as far as it has them."""
    for mark in _MARKS:
        path = huggingface_hub.try_to_load_from_cache(handle.name, mark, revision=commit)
        if isinstance(path, str):
            folder = os.path.dirname(path)
            return [os.path.relpath(os.path.join(place, name), folder)
                    for place, _, names in os.walk(folder) for name in names]
    raise UserError(f"{handle.text} is not in the cache {constants.HF_HUB_CACHE}, and "
                    f"{constants.ENDPOINT} cannot be reached: fetch it once with a network.")


def _take(handle: Handle, commit: str, sums: dict[str, str] | None, name: str) -> str:
    """The path of a file in the cache."""
    get = functools.partial(huggingface_hub.hf_hub_download, handle.name, name, revision=commit,
                            library_name="gpt_tf")
    try:
        return get(local_files_only=True)
    except errors.LocalEntryNotFoundError:
        if sums is None:
            raise
    path = get()
    if not _is_as_listed(path, sums[name]):
        for each in (os.path.realpath(path), path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
        raise UserError(f"{name} of {handle.text} came damaged: its checksum is not "
                        f"{sums[name]}, which {constants.ENDPOINT} lists. It was thrown away: run "
                        "the same again.")
    return path


def _is_as_listed(path: str, listed: str) -> bool:
    """Whether a file has the checksum: SHA-256, or the 40 digits by which git knows a content."""
    is_git = len(listed) == 40
    digest = hashlib.sha1(b"blob %d\0" % os.path.getsize(path)) if is_git else hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == listed


def _status(error: BaseException) -> int | None:
    """What a server answered; None where none did."""
    return getattr(getattr(error, "response", None), "status_code", None)


@contextlib.contextmanager
def _explained(handle: Handle) -> Iterator[None]:
    """Turns what the client, its HTTP library and the disk raise into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(_sentence(handle, error)) from error


def _sentence(handle: Handle, error: Exception) -> str:
    name, endpoint, status = handle.text, constants.ENDPOINT, _status(error)
    token = "set HF_TOKEN to a token that may read it, or keep one with: hf auth login"
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is given to whom its owner lets have it: ask at {endpoint}, and {token}."
    if isinstance(error, errors.RevisionNotFoundError):
        return (f"{name}: there is no revision {handle.revision!r}; name a branch, a tag or a "
                "commit of the repository, or leave it out for the newest.")
    if status == 401 and "Invalid credentials" in str(error):
        return f"{name}: {endpoint} does not accept your token (401): renew or unset HF_TOKEN."
    if status in (401, 404):
        return (f"{name}: there is no such repository at {endpoint}, or it is private: check the "
                f"name; for a private one {token}.")
    if status == 403:
        return f"{name}: {endpoint} refuses it (403): {token}."
    if status is None and isinstance(error, OSError) and error.errno:
        return (f"Cannot write {constants.HF_HUB_CACHE}: {error.strerror}. Make room, or name "
                "another folder with HF_HOME; then run the same again.")
    if constants.is_offline_mode():
        return (f"{name} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE keeps it "
                "from being fetched: fetch it once without.")
    return (f"{name} cannot be fetched from {endpoint} ({reason(error)}), and is not in the cache "
            f"{constants.HF_HUB_CACHE}: check the network, and run the same again.")
