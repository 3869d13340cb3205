"""The loader of the package's and of lmms-eval's YAML: libyaml's, ten times as fast, where there is one.

What strangers share is read by PyYAML's own, which ends with an error however deep it is nested.
"""

from typing import Any

import yaml

FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
