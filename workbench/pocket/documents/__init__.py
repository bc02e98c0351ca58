"""Hold the kinds of documents that the corpus is made of."""
