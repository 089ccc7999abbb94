"""Images -> a COCO folder of labels that a model gives, and which of them to look at first."""
