"""Child processes that may compute and nothing else: for files that somebody else made.

One file per mechanism behind one interface. What a mechanism promises is tried, never assumed
(`choose`), and a child that cannot be confined does not start (ADR 0012).
"""
