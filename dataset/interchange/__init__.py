"""Conversion of datasets from and to the formats of other trainers.

- `verl_import`: converts VideoSSR's published layout, made for training with verl, to a dataset
- `verl_export`: converts rendered samples to rows of that layout
- `webdataset`: writes rendered samples to tar files
- `export`: `export_dataset` renders a dataset to one of these formats, or to JSON lines
"""
