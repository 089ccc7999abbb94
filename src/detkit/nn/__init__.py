"""The networks: blocks, backbone, neck, heads, decoding, fusing and their checkpoints."""
