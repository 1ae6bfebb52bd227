"""Where a model looked: patch-text similarity maps and attention roll-out, and a test of whether they mean anything.

from dermis.explain import explain, overlay
found = explain(model, "photo.jpg", ["a melanoma"])[0]
overlay(picture_HWC, found)
"""

from dermis.explain.draw import overlay
from dermis.explain.maps import Map, explain, kinds_of

__all__ = ["Map", "explain", "kinds_of", "overlay"]
