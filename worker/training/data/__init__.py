"""Labelled texts for training: read, map, count and split them.

    read(path) → LabelledData | TaggedData → label map → report, split → the texts of a head

Read the modules in this order: `examples` (the nouns), `layout` (how a file is laid out), `schemes` (tags of words
become entities), `readers` (one module per format), `read` (choose a reader), `labels`, `duplicates`, `splits`, `report`. No module
imports torch or numpy, so that `gist-stream data` starts fast.
"""
