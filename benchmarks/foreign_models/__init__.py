"""Detectors of other packages: files that they write themselves, and what they find themselves.

One module a package. Everything here is run in that package's own virtual environment, but for the
tables of models, which need nothing installed; nothing here imports detkit.
"""
