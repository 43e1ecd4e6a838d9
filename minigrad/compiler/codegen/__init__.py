"""Code for fused kernels (csrc/core/fused.h), made from the ops' declarations: expressions.py is shared by all languages."""
