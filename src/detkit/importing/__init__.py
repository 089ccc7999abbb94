"""The `import` verb: foreign checkpoints become detkit checkpoints, executing nothing."""
