"""The model as KerasNLP's users know theirs."""
