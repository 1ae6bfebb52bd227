"""A tree of files on disk, as a release lies there; what is in them does not matter to a reader."""

from pathlib import Path


def tree(root: Path, *names: str) -> Path:
    """Files of one byte with these names, / between folders; returns ``root``."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root
