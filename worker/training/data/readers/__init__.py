"""The readers of labelled files: CoNLL, JSON, tables, and data sets of Hugging Face's `datasets`.

`lines` numbers the lines of a file and collects problems. `rows` and `answers` turn rows with named columns into labelled texts.
"""
