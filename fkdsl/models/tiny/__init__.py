"""A byte-level transformer of our own: the model, its training, and the weights that ship with the
package."""
