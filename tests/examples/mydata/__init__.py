"""Datasets of my own, built as `t2vdata build mydata.wavy_lines`."""
