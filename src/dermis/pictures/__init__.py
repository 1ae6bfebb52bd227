"""Opening pictures safely and fast: where they lie (``store``), what they are (``header``, ``decode``). No torch."""


class PictureError(ValueError):
    """A picture that cannot be used, in one sentence that names what is wrong."""
