"""What people read of a result: console tables, numbers, progress."""
