"""ONNX graphs of a network: traced, with Q/DQ nodes, in FP16, with NMS. No engine is known here."""
