"""`detkit data`: COCO folders checked, converted, drawn and labelled."""
