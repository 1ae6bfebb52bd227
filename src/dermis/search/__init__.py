"""Nearest cases: embeddings of a manifest as a memory-mapped folder, and what lies near a picture, a text or a case."""
