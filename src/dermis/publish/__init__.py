"""A trained model made ready for other people: nothing private in it, a complete card, ONNX graphs, the hub."""
