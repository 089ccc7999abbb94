"""Train, search, quantize, export and measure real-time object detectors."""

__version__ = "0.1.0"
