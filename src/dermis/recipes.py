"""Where the recipes lie: beside the source in a checkout, inside the package when installed."""

from pathlib import Path


def recipes_folder() -> Path:
    """The folder of recipes that came with dermis."""
    inside = Path(__file__).parent / "recipes"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "recipes"


def find_recipe(name: str) -> Path:
    """A recipe by path, or by name among those that came with dermis. Raises ValueError naming the nearest."""
    from dermis.registry import unknown

    if Path(name).is_file():
        return Path(name)
    own = {path.stem: path for path in recipes_folder().glob("*.yaml")}
    wanted = Path(name).name.removesuffix(".yaml")
    if wanted in own:
        return own[wanted]
    raise unknown("recipe (no such file, and none that came with dermis)", name, own)
