"""Cases -> tensors: augmentation, ragged texts, tables, and an order of batches that remembers its place."""
