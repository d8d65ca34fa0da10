"""What a run is worth: standard errors, bets against wrong samplers, and what each line of a model
did."""
