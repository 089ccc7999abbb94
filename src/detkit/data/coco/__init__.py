"""COCO folders: found, read, checked, written."""
