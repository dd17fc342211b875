"""The process of ``lag --serve``: passes over all groups, their metrics and their terminal view."""
