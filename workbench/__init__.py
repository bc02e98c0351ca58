"""See, measure and change what instruction tuning does to a language model."""
