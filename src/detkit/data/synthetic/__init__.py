"""COCO folders that detkit draws itself."""
