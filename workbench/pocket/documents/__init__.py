"""Write the documents of the corpus, one function per genre."""
