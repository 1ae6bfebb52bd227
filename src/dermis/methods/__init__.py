"""One file per paper: a batch in, ``{"loss": …}`` out (docs/design.md, "Method"). No method knows the loop."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from dermis.registry import Registry

method: Registry[Any] = Registry("method")
"""name -> class of the method; ``@method("name")`` registers one"""


def methods() -> Registry[Any]:
    """The registry with every page of this room loaded."""
    for page in iter_modules(__path__):
        import_module(f"{__name__}.{page.name}")
    return method
