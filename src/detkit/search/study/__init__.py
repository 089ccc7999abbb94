"""A search as it runs: the driver, its journal, the front it reports."""
