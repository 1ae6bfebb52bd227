"""A finished folder to the model hub."""

from pathlib import Path

from dermis.publish.clean import travels
from dermis.towers.layouts import SETTINGS

STARTS_WITH = {".gitattributes", "README.md", "LICENSE"}
"""files of a repository that was made by hand and holds nothing yet"""


def upload(folder: Path, repository: str, *, private: bool = False) -> str:
    """Make the repository where there is none and put ``folder`` into it; returns its address.

    In one commit, so that nobody downloads half of it (``upload_folder`` may make several). What an older version of
    the model had and this one has not is removed; files that are no model's stay. Raises ValueError for a repository
    that holds something else, for one that is public and should be private, and for what the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, ours = HfApi(), sorted(path for path in folder.rglob("*") if path.is_file())
    adds = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in ours]
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        found = api.model_info(repository)
        there = {file.rfilename for file in found.siblings or []}
        if SETTINGS not in there and there - STARTS_WITH:
            raise ValueError(f"it holds something that is not a dermis model ({min(there - STARTS_WITH)}).")
        if private and not found.private:  # create_repo leaves one that exists as it is
            raise ValueError("it is public already, and --private would have no effect; change it on the hub first.")
        stale = sorted(there - {add.path_in_repo for add in adds})
        gone = [CommitOperationDelete(name) for name in stale if travels(name) or name.startswith("onnx/")]
        api.create_commit(repository, [*gone, *adds], commit_message="dermis publish")
    except (*HfHubHTTPError.__bases__, OSError, ValueError) as error:  # the bases are its HTTP library's, by version
        raise ValueError(f"not published to {repository!r}: {error}") from None
    return f"{api.endpoint}/{repository}"
