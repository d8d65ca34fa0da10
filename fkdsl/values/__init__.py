"""Values of programs: types, operators, distributions and the pure library."""
