"""COCO folders and images: reading, checking, augmenting, batching, drawing, making."""
