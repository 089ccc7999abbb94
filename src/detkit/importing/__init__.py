"""The `import` verb: checkpoints of other tools become detkit checkpoints, executing nothing."""
