"""A program as a Feynman-Kac model: states, kernels M_t, potentials G_t."""
