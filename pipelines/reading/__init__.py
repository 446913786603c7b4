"""Files and TensorFlow Datasets, as blocks, lines and examples."""
