"""What a language model has on a device other than the processor.

decode_step.py   a decode step of static shapes, without a wait for the device
step_inputs.py   what it reads: tokens, and tables of where contexts lie in the pool
operators.py     its attention, by torch's public operators
triton_operators.py, triton_kernels.py   the same by kernels that read the pool in place
trial.py         whether the kernels are right on a device
graphs.py        CUDA graphs of it
rows.py          rows of the vocabulary that stay there
row_operators.py, triton_rows.py   what is computed of them: log-probabilities and sums
masks.py         masks as bits, moved there once
reads.py         what the draws of a population look at, in one transfer
drawn.py         the same of plain draws, in columns
transfer.py      arrays there and back
"""
