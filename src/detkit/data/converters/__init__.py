"""Folders of other label formats, turned into COCO folders."""
