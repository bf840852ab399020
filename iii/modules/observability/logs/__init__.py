"""Log records: kept, searched, told of."""
