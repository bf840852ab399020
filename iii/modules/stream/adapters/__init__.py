"""Where the stream module keeps its items, besides ``iii.storage.kvstore``."""
