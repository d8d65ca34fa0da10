"""The uses of torch and transformers beyond their documented interfaces: a module for each part.

| module      | private parts                             | if one is missing or wrong          |
|-------------|-------------------------------------------|-------------------------------------|
| kernels     | torch.ops.mkldnn, torch.ops.onednn,       | torch's public operators; `int8`    |
|             | 4-bit ones of torch.ops.aten: packed      | and `int4` are refused              |
|             | linear maps; torch.cpu: which             | `--dtype auto` is float32           |
|             | instructions the processor has            |                                     |
| caches      | the layers of transformers' caches, and   | the model runs without a cache      |
|             | by which name a module takes one          | (fkdsl.models.uncached)             |
| multi_token | MtpModel and MtpCache of transformers     | an error that names other drafts    |
| processors  | how a ProcessorMixin loads its parts      | an error that says what is missing  |
| quiet       | the bar of transformers' gguf reader      | a bar is drawn                      |

tests/models/test_compat.py tests each by itself. llguidance is used in
fkdsl/engine/constraints/matchers.py and grammars.py alone, and lark's tables in
fkdsl/language/syntax/grammar_tables.py.
"""

from fkdsl.base.errors import CallError

TESTED_VERSIONS = ("5.16", "5.24")
"""The lowest and the newest minor release of transformers that the tests pass with; pyproject.toml
allows no others."""


class CacheUnknown(CallError):
    """A module of transformers takes no cache of a kind that fkdsl knows. The class stands here so
    that catching it does not import transformers."""


class ProcessorUnknown(CallError):
    """A folder has no processor of images that transformers knows."""
