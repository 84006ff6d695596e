"""What the cache costs and what it saves, measured against what people would use instead: `make bench`."""
