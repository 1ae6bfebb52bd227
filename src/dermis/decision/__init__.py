"""From scores to a decision that knows its limits: calibrated probabilities, sets with a promise, and "not sure"."""
