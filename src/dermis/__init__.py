"""dermis: dermatology representations from what a clinic really has."""

__version__ = "0.1.0"
