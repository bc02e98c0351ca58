"""The pocket world: facts, corpus, tasks and base model. Nothing outside this package knows how the world is made."""
