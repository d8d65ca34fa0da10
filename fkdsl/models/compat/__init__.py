"""What fkdsl uses of torch and transformers beyond their documented interfaces: one module for each
part.

| module      | private parts                                           | where they fail                     |
|-------------|---------------------------------------------------------|-------------------------------------|
| kernels     | torch.ops.mkldnn, torch.ops.onednn: packed linear maps  | torch's public operators; no `int8` |
| caches      | the layers of transformers' caches, and by which name   | the model reads whole texts         |
|             | a module takes one                                      | (fkdsl.models.uncached)             |
| multi_token | MtpModel and MtpCache of transformers                   | an error that names other drafts    |
| quiet       | the bar of transformers' gguf reader                    | a bar is drawn                      |

tests/models/test_compat.py tries each by itself. llguidance is used in
fkdsl/engine/constraints/grammars.py alone, and lark's tables in
fkdsl/language/syntax/grammar_tables.py, where their layers are.
"""

from fkdsl.base.errors import CallError

TESTED_VERSIONS = ("5.16", "5.24")
"""The lowest and the newest minor release of transformers that the tests pass with; pyproject.toml
allows no others."""


class CacheUnknown(CallError):
    """A module of transformers takes no cache of the kinds that fkdsl knows. It stands here since
    who catches it may need no transformers."""
