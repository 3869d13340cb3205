"""Readers of other programs' result files: lmms-eval's logs, VLMEvalKit's files, a table of anyone's."""
