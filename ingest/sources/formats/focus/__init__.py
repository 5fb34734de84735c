"""FOCUS files, and bills of vendors that write a cost and a date in columns of their own."""
