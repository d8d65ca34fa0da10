"""Layer 5: a steering program as segments between draws; its verifier, its passes and its printed
form."""
