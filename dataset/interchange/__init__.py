"""Datasets from and to other trainers.

- `verl_import`: VideoSSR's published layout, for training with verl, to a dataset
- `verl_export`: rendered samples to rows of that layout
- `webdataset`: rendered samples to tar files
- `export`: `export_dataset` renders a dataset to one of these formats, or to JSON lines
"""
