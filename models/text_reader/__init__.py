"""The recipe of the `text_reader` bundle: PP-OCRv4 in int8, calibrated and measured on rendered UI strings."""
