"""Where the model of a command comes from."""
