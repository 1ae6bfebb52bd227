"""The loop, what a resumable run is, optimiser groups, schedule, tracking. It knows no method by name."""
