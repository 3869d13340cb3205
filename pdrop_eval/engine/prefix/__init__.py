"""Questions of one image share the prefix of their prompt, up to the last image token.

Attention is causal, so the prefix has the same keys, values and states whatever is asked, in every layer
before the first drop. They are computed once and kept; then these layers run on the rows behind it alone.
"""
