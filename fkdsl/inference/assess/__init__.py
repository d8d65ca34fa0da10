"""How good a run is: standard errors, sequential tests of methods, and what each line of a model
did to it."""
