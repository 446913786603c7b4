"""SavedModel signatures, and the tokenizer as a graph."""
