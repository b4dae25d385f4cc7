"""What people read: figures drawn from a case."""
