"""Labelled texts for training: read from any usual file, mapped, counted, and split so that nothing stands on both sides.

    read(path) → LabelledData | TaggedData → label map → report, split → what a head learns

Read the modules in this order: `examples` (the nouns), `layout` (how a file may be laid out), `schemes` and `sentences` (tags of
words become entities of a text), `lines`, `conll`, `answers`, `rows`, `json_array`, `tables`, `arrow` (the readers), `read` (which
of them a path is for); then `labels`, `duplicates`, `splits`, `report`. Nothing here imports torch or numpy: looking at a file is
quick.
"""
