"""The `search` verb: strategies, scoring, the cluster, the study that drives them."""
