"""The `import` verb: super-gradients checkpoints become detkit checkpoints, executing nothing."""
