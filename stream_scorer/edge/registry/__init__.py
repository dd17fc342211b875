"""Which devices and releases operators allow."""
