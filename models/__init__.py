"""The nets: tensors in, tensors out. Imports torch and nothing of this project."""
