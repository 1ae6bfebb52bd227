"""The HTTP service: a model behind an API and a page, in batches, with limits, and nothing kept of what is sent."""
