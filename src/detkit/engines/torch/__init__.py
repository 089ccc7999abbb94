"""torch: a detkit checkpoint, as trained or fused."""
