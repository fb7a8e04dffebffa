"""Texts to tokens: the tokenizer, prompts, windows of long texts, and batches without padding."""
