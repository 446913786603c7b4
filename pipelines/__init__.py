"""Raw text in, padded TFRecords out: everything that happens before training."""
