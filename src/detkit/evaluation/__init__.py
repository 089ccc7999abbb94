"""AP of a model on a split, and the operating point that its scores suggest."""
