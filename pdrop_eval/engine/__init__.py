"""The staged forward: removes image tokens between the layers of a transformers decoder.

It knows model families (`families`) and tensors (`ops`), and no strategy: what a strategy hands it is in
`interface`.
"""
