"""Layer 4: a steering program over language models, as a Feynman-Kac model: states, kernels M_t, potentials G_t."""
