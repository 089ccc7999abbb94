"""ONNX files of other tools: what they say of themselves, and how a description fits them."""
