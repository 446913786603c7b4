"""The data folder: schema, manifest, reader, batches."""
