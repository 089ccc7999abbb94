"""The `quantize` verb: INT8 by calibration or training, its cost measured and bounded."""
