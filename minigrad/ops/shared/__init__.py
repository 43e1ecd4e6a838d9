"""What the declarations have in common: argument checks, docstring templates, NumPy references and expressions."""
