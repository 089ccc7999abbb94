"""COCO folders and pictures: reading, checking, augmenting, batching, drawing, making."""
