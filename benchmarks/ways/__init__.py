"""The loaders that are compared, one file each: a measuring process imports one of them."""
