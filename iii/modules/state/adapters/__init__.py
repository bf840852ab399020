"""Where the state module keeps its values, besides ``iii.storage.kvstore``."""
