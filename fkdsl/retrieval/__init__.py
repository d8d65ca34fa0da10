"""Retrieval: files cut into passages, indexed once and kept, and the best of them for a query.

    declared pattern -> files.py -> passages.py -> store.py (kept by content) -> ranking -> hits

`index.py` is the way in. It knows no program: values/library/retrieval.py has what programs call.
"""
